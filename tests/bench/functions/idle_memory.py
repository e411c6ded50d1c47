"""What a handler keeps of each model that was called once: `idle_memory MODULE < events`.

The first event is of a model that is there before. Prints the answers and the bytes per model.
"""

import gc
import importlib
import json
import os
import sys
import tracemalloc


def main() -> None:
    out, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115
    handler = importlib.import_module(sys.argv[1]).handler
    first, *events = json.loads(sys.stdin.read())
    answers = [handler(first, None)]
    gc.collect()
    tracemalloc.start()
    for event in events:
        answer = handler(event, None)
        if answer["body"] != answers[0]["body"]:
            answers.append(answer)
    del answer
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(json.dumps({"answers": answers, "bytes": kept / len(events)}), file=out)


if __name__ == "__main__":
    main()
