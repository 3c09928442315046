"""Shows the documents that the sink wrote, merged by id as Leek's search index does it.

    show.py settled FILE N   exit 0 once N tasks have come to their end, else 1
    show.py table FILE       a readable table
"""

import json
import sys

ENDS = {"SUCCEEDED", "RECOVERED", "FAILED", "CRITICAL", "REJECTED", "REVOKED"}
RENAMED = {"SUCCEEDED": "RECOVERED", "FAILED": "CRITICAL"}


def merge(old, new):
    """A task's events may have travelled in several batches."""
    if old is None:
        return new
    merged = {**old, **new}
    merged["events"] = new.get("events", []) + old.get("events", [])
    if old.get("state") in ENDS and new.get("state") not in ENDS:
        merged["state"] = old["state"]
    if merged.get("retries"):
        merged["state"] = RENAMED.get(merged["state"], merged["state"])
    return merged


def documents(path):
    """By id, in order of first appearance. A line still being written does not count yet."""
    found = {}
    try:
        lines = open(path, encoding="utf-8").read().split("\n")[:-1]
    except FileNotFoundError:
        return []
    for line in filter(None, lines):
        document = json.loads(line)
        found[document["id"]] = merge(found.get(document["id"]), document)
    return list(found.values())


def outcome(task):
    if task["state"] in ("FAILED", "CRITICAL"):
        error = task.get("error") or {}
        return f"{error.get('type')}: {error.get('message')}"
    runtime = task.get("runtime")
    took = f" in {runtime * 1000:.1f} ms" if runtime is not None else ""
    return f"{task.get('result')}{took}"


def row(task):
    call = f"{task.get('name')}{task.get('args', '()')}"
    history = " ".join(event.lower() for event in reversed(task.get("events", [])))
    return call, task["state"], history, outcome(task)


def table(found):
    rows = [("task", "state", "events", "outcome")]
    rows += [row(task) for task in found if task["kind"] == "task"]
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    rows.insert(1, tuple("-" * width for width in widths))
    for cells in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
    for worker in found:
        if worker["kind"] == "worker":
            version = f"{worker.get('sw_ident')} {worker.get('sw_ver')}"
            print(f"worker {worker['id']} ({version}): {worker['state']}")


def settled(found, count):
    return sum(1 for one in found if one["kind"] == "task" and one["state"] in ENDS) >= count


if __name__ == "__main__":
    what, path, *rest = sys.argv[1:]
    if what == "table":
        table(documents(path))
    else:
        sys.exit(not settled(documents(path), int(rest[0])))
