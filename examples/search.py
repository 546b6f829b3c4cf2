"""Ask WeiMoCIR from Python: a reference picture, what should differ, and the best five.

    pip install nats-py
    python examples/search.py PICTURE "is green with a star"
"""

import asyncio
import base64
import json
import os
import sys

import nats


async def main(picture: str, modifier: str) -> None:
    client = await nats.connect(os.environ.get("WEIMOCIR_NATS", "nats://127.0.0.1:4222"))
    with open(picture, "rb") as file:
        reference = {"image": base64.b64encode(file.read()).decode()}
    request = {"reference": reference, "modifier": modifier, "k": 5}
    reply = await client.request("weimocir.search", json.dumps(request).encode(), timeout=10)
    await client.close()

    answer = json.loads(reply.data)
    if "error" in answer:
        sys.exit(f"{answer['error']['code']}: {answer['error']['message']}")
    for candidate in answer["candidates"]:
        captions = [caption["text"] for caption in candidate["captions"]]
        print(f"{candidate['similarity']:.4f}  {candidate['source']}  {captions[:1]}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], sys.argv[2]))
