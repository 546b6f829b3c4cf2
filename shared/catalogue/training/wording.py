"""Reads the attributes back from a full caption, to count how many of them it names right."""

import re


class Reader:
    def __init__(self, words: dict[str, list]):
        nouns = [(noun, kind) for kind, nouns in enumerate(words["garment"]) for noun in nouns]
        self.nouns = sorted(nouns, key=lambda pair: -len(pair[0]))
        self.colors = words["color"]
        self.patterns = words["pattern"]
        self.sleeves = words["sleeve"]
        self.graphics = words["graphic"]

    def read(self, caption: str) -> dict[str, str | int | None]:
        """The attributes a caption names, by facet; what it leaves out is plain, blank or absent."""
        garment = re.sub(r" on (a|the) .*", "", caption)
        colors = [word for word in re.findall(r"[a-z]+", garment) if word in self.colors]
        return {
            "garment": self.garment(garment),
            "color": colors[0] if colors else None,
            "pattern": first(self.patterns, garment, start=1) or 0,
            "second": colors[1] if len(colors) > 1 else None,
            "sleeve": first(self.sleeves, garment),
            "length": self.length(garment),
            "graphic": first(self.graphics, garment, start=1) or 0,
        }

    def garment(self, caption: str) -> int | None:
        return next((kind for noun, kind in self.nouns if has(noun, caption)), None)

    def length(self, caption: str) -> str | None:
        if "shorts" in caption:
            return "short"
        found = re.search(r"\b(short|long)\b(?! sleeves?\b| sleeved)", caption)
        return found.group(1) if found else None


def has(words: str, caption: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(words)}(?![\w-])", caption) is not None


def first(values: list[list[str]], caption: str, start: int = 0) -> int | None:
    """The first value one of whose names is in the caption."""
    named = (i for i in range(start, len(values)) if any(has(name, caption) for name in values[i]))
    return next(named, None)


GARMENTS = ["dress", "shirt", "tshirt", "skirt", "trousers", "shoe", "bag", "hat"]
PATTERNS = ["plain", "striped", "dotted", "checked"]
SLEEVES = ["sleeveless", "short", "long"]
GRAPHICS = ["blank", "clover", "star", "heart", "text"]


def truth(attributes: dict[str, str | None]) -> dict[str, str | int | None]:
    """The attributes of `attributes.jsonl` in the form that [`Reader.read`] gives."""

    def index(values: list[str], value: str | None) -> int | None:
        return None if value is None else values.index(value)

    return {
        "garment": index(GARMENTS, attributes["garment"]),
        "color": attributes["color"],
        "pattern": index(PATTERNS, attributes["pattern"]),
        "second": attributes["second"],
        "sleeve": index(SLEEVES, attributes["sleeve"]),
        "length": attributes["length"],
        "graphic": index(GRAPHICS, attributes["graphic"]) or 0,
    }
