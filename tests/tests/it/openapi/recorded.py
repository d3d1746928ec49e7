"""Holds the answers that were recorded from hawkBit, and the bodies it took, against our OpenAPI document.

    recorded.py DOCUMENT GOLDEN_FOLDER

Prints one line per difference, and at the end how many bodies were held against a schema. Answers may have no member that
the document does not name.
"""

import json
import pathlib
import re
import sys

import jsonschema_rs

PLACEHOLDERS = {"#ts": 1_700_000_000_000, "#token": "0123456789abcdef0123456789abcdef"}


def main(document_path, folder):
    document = json.loads(pathlib.Path(document_path).read_text())
    held = {"answers": 0, "bodies sent": 0}
    for file in sorted(pathlib.Path(folder).glob("*.json")):
        for number, step in enumerate(json.loads(file.read_text())):
            for what, problem in differences(document, step, held):
                print(f"{file.stem}#{number} {step['request']} {step['status']} {what}: {problem}")
    print(f"held {held['answers']} answers, {held['bodies sent']} bodies sent")


def differences(document, step, held):
    method, address = step["request"].split(" ", 1)
    path = address.split("?")[0]
    template = template_of(document, path)
    operation = document["paths"].get(template, {}).get(method.lower())
    if operation is None:
        return
    is_device = template.startswith("/{tenant}/")
    if "sent" in step and isinstance(step["sent"], (dict, list)) and step["status"] < 300:
        schema = media(operation["requestBody"]["content"], step.get("sent_type", "application/json"))
        held["bodies sent"] += 1
        yield from complaints("sent", document, schema, step["sent"], is_device, strict=False)
    answer = operation["responses"].get(str(step["status"]))
    if answer is None:
        yield "answer", "this status is not documented"
        return
    answer = resolve(document, answer)
    body = step.get("body")
    if not isinstance(body, (dict, list)):
        return
    # An error that may be without a body is documented without one; what it sometimes has is an error's body all the same.
    bare = step["status"] >= 400 and "content" not in answer
    content = document["components"]["responses"]["BadRequest"]["content"] if bare else answer.get("content", {})
    schema = media(content, step.get("type", "application/json"))
    if schema is None:
        yield "answer", f"no body of {step.get('type')} is documented"
        return
    held["answers"] += 1
    yield from complaints("answer", document, schema, body, is_device, strict=True)


def template_of(document, path):
    """The template with the fewest placeholders that the path fits."""
    fits = [t for t in document["paths"] if re.fullmatch(re.sub(r"\{[^/]+?\}", "[^/]+", t), path)]
    return min(fits, key=lambda t: t.count("{"), default=None)


def media(content, name):
    found = content.get(name.split(";")[0])
    return found and found.get("schema", {})


def complaints(what, document, schema, body, is_device, strict):
    validator = jsonschema_rs.Draft202012Validator(inlined(document, schema, strict))
    for error in validator.iter_errors(filled(body, is_device)):
        where = "/".join(map(str, error.instance_path))
        yield what, f"{where or 'the whole'}: {error.message[:300]}"


def filled(value, is_device):
    """The recording with values for its placeholders. Ids are numbers for operators and texts for devices."""
    if isinstance(value, dict):
        return {name: filled(member, is_device) for name, member in value.items()}
    if isinstance(value, list):
        return [filled(entry, is_device) for entry in value]
    if value == "#id":
        return "1" if is_device else 1
    if isinstance(value, str):
        return PLACEHOLDERS.get(value, value.replace("{base}", "http://127.0.0.1:8080"))
    return value


def resolve(document, schema):
    while "$ref" in schema:
        found = document
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name.replace("~1", "/")]
        schema = found
    return schema


def inlined(document, schema, strict, part=False):
    """The schema without references. `strict`: its objects have no members but those named; a part's whole says so."""
    if isinstance(schema, list):
        return [inlined(document, entry, strict, part) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    schema = dict(resolve(document, schema))
    for name, below in schema.items():
        if name == "properties":
            schema[name] = {member: inlined(document, s, strict) for member, s in below.items()}
        elif name == "allOf":
            schema[name] = inlined(document, below, strict, part=True)
        elif name in ("items", "additionalProperties", "oneOf", "anyOf"):
            schema[name] = inlined(document, below, strict)
    if strict and not part and ("properties" in schema or "allOf" in schema):
        schema["unevaluatedProperties"] = False
    return schema


if __name__ == "__main__":
    main(*sys.argv[1:])
