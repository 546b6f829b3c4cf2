"""Put pictures into WeiMoCIR from Python: files, or http(s) addresses that it is to fetch.

    pip install nats-py
    python examples/submit.py PICTURE…
"""

import asyncio
import base64
import json
import os
import sys

import nats


async def main(pictures: list[str]) -> None:
    client = await nats.connect(os.environ.get("WEIMOCIR_NATS", "nats://127.0.0.1:4222"))
    refused = 0
    for picture in pictures:
        if picture.startswith(("http://", "https://")):
            request = {"url": picture}
        else:
            with open(picture, "rb") as file:
                request = {"image": base64.b64encode(file.read()).decode(), "source": picture}
        reply = await client.request("weimocir.submit", json.dumps(request).encode(), timeout=60)
        answer = json.loads(reply.data)
        if "error" in answer:
            refused += 1
            print(f"{picture}: {answer['error']['code']}: {answer['error']['message']}", file=sys.stderr)
        else:
            print(f"{answer['id']}  {answer['outcome']}  {picture}")
    await client.close()
    sys.exit(refused > 0)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1:]))
