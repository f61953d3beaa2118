"""Adds up a folder of test results and prints `N passed, N failed` last; exit code 1 if any failed.

NAME.xml     JUnit report of ctest or pytest
NAME.count   "passed failed"
NAME.failed  the runner NAME ended with an error: at least one failure, whatever its report says
"""

import sys
from pathlib import Path
from xml.etree import ElementTree


def junit(path):
    """(passed, failed, skipped) of one report, counted test by test."""
    passed = failed = skipped = 0
    for case in ElementTree.parse(path).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
            failed += 1
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def count(folder):
    """name -> [passed, failed, skipped]"""
    results = {path.stem: list(junit(path)) for path in sorted(folder.glob("*.xml"))}
    for path in sorted(folder.glob("*.count")):
        results[path.stem] = [*map(int, path.read_text().split()), 0]
    for path in sorted(folder.glob("*.failed")):
        result = results.setdefault(path.stem, [0, 0, 0])
        result[1] = max(result[1], 1)
    return results


def main():
    results = count(Path(sys.argv[1]))
    for name, (passed, failed, skipped) in results.items():
        print(f"{name:12} {passed:5} passed {failed:4} failed {skipped:4} skipped")
    passed = sum(result[0] for result in results.values())
    failed = sum(result[1] for result in results.values())
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
