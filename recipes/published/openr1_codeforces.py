"""Open-R1's rewards for Codeforces problems: programs run against the official tests on Piston servers.

PISTON_ENDPOINTS names the servers, separated by commas (http://HOST:PORT/api/v2), with Open-R1's packages
cf_python3 and c++17: https://github.com/huggingface/open-r1/tree/main/slurm/piston. What a model wrote runs
there and nowhere else.
"""

import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from urllib.error import URLError
from urllib.request import Request, urlopen

PACKAGES = {"python": "cf_python3", "cpp": "c++17"}
NOTHING_WRITTEN, DOES_NOT_COMPILE = -1.0, -0.1
TRIES = 5

_turn = count()


def solves(completions, language, official_tests, generated_checker, time_limit, memory_limit, input_mode):
    """1 where a program passes every test, and 0.1 times the share that it passes (`weighted_sum`).

    -0.1 where it does not compile, -1 where there is none. A problem without tests has no say.
    """
    endpoints = os.environ.get("PISTON_ENDPOINTS", "").split(",")
    if not endpoints[0]:
        raise RuntimeError("PISTON_ENDPOINTS names no server: http://HOST:PORT/api/v2")
    rows = zip(
        (_program(completion, word) for completion, word in zip(completions, language, strict=True)),
        *(language, official_tests, generated_checker, time_limit, memory_limit, input_mode),
        strict=True,
    )
    with ThreadPoolExecutor(len(endpoints)) as pool:
        return list(pool.map(lambda row: _score(endpoints, *row), rows))


def code_format(completions, language):
    """1 for thoughts and then an answer with a block of code in the row's language."""
    return [
        float(
            re.match(
                rf"<think>\n.*?\n</think>\n<answer>\n.*?```{re.escape(word)}.*?```.*?\n</answer>$",
                _text(completion),
                re.DOTALL | re.MULTILINE,
            )
            is not None
        )
        for completion, word in zip(completions, language, strict=True)
    ]


def _text(completion):
    return completion if isinstance(completion, str) else completion[-1]["content"]


def _program(completion, language):
    """The last block of code in `language`, or nothing."""
    blocks = re.findall(rf"```{re.escape(language)}\n(.*?)```", _text(completion), re.DOTALL)
    return blocks[-1] if blocks else ""


def _score(endpoints, program, language, tests, checker, seconds, megabytes, input_mode):
    if not tests:
        return None
    if not program:
        return NOTHING_WRITTEN
    limits = f"TIME_LIMIT={seconds}\nMEMORY_LIMIT={megabytes}\nINPUT_MODE={input_mode}"
    passed = 0
    for test in tests:
        files = {
            f"main.{language}": program,
            "input.txt": test["input"],
            "correct_output.txt": test["output"],
        }
        files |= {"grader_config": limits, **({"checker.py": checker} if checker else {})}
        found = _run(endpoints, PACKAGES[language], files, int((seconds + 10) * 1000))
        if found.get("compile", {}).get("code"):
            return DOES_NOT_COMPILE
        passed += found["run"]["code"] == 0 and found["run"]["stdout"].strip() == "1"
    return float(passed == len(tests)) + 0.1 * passed / len(tests)


def _run(endpoints, package, files, milliseconds):
    """What a server says of one test. Raises its error after some tries: a row must not be paid for that."""
    content = [{"name": name, "content": text} for name, text in files.items()]
    body = {"language": package, "version": "*", "files": content, "run_timeout": milliseconds}
    for left in reversed(range(TRIES)):
        endpoint = endpoints[next(_turn) % len(endpoints)].rstrip("/")
        asked = Request(
            f"{endpoint}/execute", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urlopen(asked, timeout=milliseconds / 1000 + 60) as answer:
                found = json.load(answer)
            if "Resource temporarily unavailable" not in found["run"].get("stderr", ""):
                return found
            error = RuntimeError(f"{endpoint} has too much to do")
        except (URLError, TimeoutError, ValueError, KeyError) as failed:
            error = RuntimeError(f"{endpoint}: {failed}")
        if left:
            time.sleep(2 ** (TRIES - 1 - left) / 2)
    raise error
