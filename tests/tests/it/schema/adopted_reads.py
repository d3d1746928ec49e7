"""usage: adopted_reads.py CONTRACT_FOLDER BASE_URL PATTERN...

Compares Kettle's reads of the adopted database with the peer's, by the contract's own rules: those of the recorded reads
whose path matches one of the patterns. Prints how many of each were compared; ends with 1 at a difference.
"""
import json, pathlib, re, sys

contract, base, *patterns = sys.argv[1:]
sys.dont_write_bytecode = True
sys.path.insert(0, contract)
from adopt_replay import body
from replay import Client, comparable, diff

client, bad = Client(base), 0
recorded = json.loads((pathlib.Path(contract) / "adopt/reads.json").read_text())
matched = dict.fromkeys(patterns, 0)
for want in recorded:
    path = want["request"]
    pattern = next((p for p in patterns if re.fullmatch(p, path)), None)
    if pattern is None:
        continue
    matched[pattern] += 1
    answer = client.send("GET", path, record=False)
    got = {"request": path, "status": answer.status, "body": body(client, answer)}
    differences = diff(comparable(want), comparable(got))
    if differences:
        bad += 1
        print(path, *differences[:5], sep="\n    ")
for pattern, count in matched.items():
    print(f"{count:4} {pattern}")
sys.exit(1 if bad or not all(matched.values()) else 0)
