#!/usr/bin/env python3
"""Checks norma-info, norma-bench and plot.py from outside: check_bench.py CHECK --bench PATH --info PATH

Each check runs the program, reads what it wrote and compares it with what was asked for. Exit code 0, 1 with a sentence, or
77 if the check needs something that is not installed.
"""

import argparse
import csv
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

# Small, quick, and with every kind of row; --memory keeps the operands small, so no row can be cold.
SHAPES = ["--shape", "1,64,48", "--shape", "33,111,40+24+1", "--shape", "7,213"]
COMMON = ["--backend", "cpu", "--memory", "96", "--time", "0.02"]
EXPECTED_ROWS = 3 * 3 * 3  # shapes, dtypes, contracts

WIDEST_LINE = 170


def fail(message):
    sys.exit(f"check failed: {message}")


def expect(condition, message):
    if not condition:
        fail(message)


def run(command, code=0, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, **options)
    expect(done.returncode == code,
           f"{' '.join(command)} gave exit code {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
    return done


def run_rows(programs, *more):
    return run([programs.bench, *COMMON, *SHAPES, "--dtype", "all", "--contract", "all", *more]).stdout


def check_backward(programs):
    text = run([programs.bench, *COMMON, *SHAPES, "--dtype", "all", "--format", "jsonl",
                "--op", "rmsnorm_backward,rmsnorm_linear_backward"]).stdout
    rows = [json.loads(line) for line in text.splitlines()]
    expect(len(rows) == 3 * 3, f"{len(rows)} backward rows, not 9")  # shapes and dtypes
    for row in rows:
        linear = row["n"] is not None
        name = f"{row['op']} {row['dtype']} {row['m']}x{row['k']}x{row['n']}"
        outputs = row["k"] * (row["m"] + 1 + (row["n"] or 0))
        expect(row["op"] == ("rmsnorm_linear_backward" if linear else "rmsnorm_backward"), f"{name} is another operation")
        expect(row["verified"] is True, f"{name} is not verified: {row['note']}")
        expect(row["checked"] == outputs, f"{name}: {row['checked']} elements were checked, not {outputs}")
        expect(0 <= row["max_err"] <= row["err_bound"], f"{name}: error {row['max_err']}, bound {row['err_bound']}")
        expect(row["median_us"] > 0 and row["floor_us"] > 0, f"{name} was not timed")
        expect("rmsnorm_rows_backward" in row["kernel"], f"{name} ran {row['kernel']}")


def check_row(row):
    name = f"{row['dtype']} {row['contract']} {row['m']}x{row['k']}x{row['n']}"
    expect(row["verified"] is True, f"{name} is not verified: {row['note']}")
    expect(row["checked"] == row["m"] * (row["n"] or row["k"]), f"{name}: {row['checked']} elements were checked")
    expect(0 <= row["max_err"] <= row["err_bound"], f"{name}: error {row['max_err']}, bound {row['err_bound']}")
    expect(0 < row["p20_us"] <= row["median_us"] <= row["p80_us"], f"{name}: percentiles are not in order")
    expect(row["floor_us"] > 0 and row["roofline_pct"] > 0, f"{name} has no floor")
    expect(math.isclose(row["roofline_pct"], 100 * row["floor_us"] / row["median_us"], rel_tol=1e-4),
           f"{name}: roofline_pct is not floor over median")
    expect(row["cache"] == "warm", f"{name} is said to be {row['cache']} although its operands fit the cache")
    expect(row["kernel"], f"{name} has no kernel")
    linear = row["n"] is not None
    expect(row["parts"] is None or sum(map(int, row["parts"].split("+"))) == row["n"], f"{name}: parts are {row['parts']}")
    special = bool(row["parts"]) or row["contract"] != "deferred" or row["batch_invariant"] or row["timed"]
    special = special or (row["fp32_tensor"] and linear)
    for field in ("base_us", "base_ratio"):
        expect((row[field] is not None) == special, f"{name}: {field} is {row[field]}")
    expect(row["op"] == ("rmsnorm_linear" if linear else "rmsnorm"), f"{name} is an {row['op']}")
    expect((row["norm_us"] is not None) == linear, f"{name}: norm_us is {row['norm_us']}")
    peers = [row[field] for field in ("pair_us", "pair_err", "pair_kernel", "speedup", "gemm_us", "gemm_ratio")]
    expect(len({peer is None for peer in peers}) == 1, f"{name}: peers are there in part: {peers}")
    expect(linear or peers[0] is None, f"{name}: a norm has no pair")
    expect(peers[0] is not None or not linear or row["note"], f"{name}: no word on why the pair is missing")


def check_info(programs):
    text = run([programs.info]).stdout
    data = json.loads(run([programs.info, "--json"], env={**os.environ, "NORMA_LOG": 'say "so"'}).stdout)
    expect(re.fullmatch(r"\d+\.\d+\.\d+", data["version"]), f"the version is {data['version']}")
    expect([backend["name"] for backend in data["backends"]] == ["cuda", "hip", "opencl", "cpu"], "the backends differ")
    expect(data["environment"]["NORMA_LOG"] == 'say "so"', "text is not quoted as JSON wants it")
    for backend in data["backends"]:
        expect(backend["detail"], f"{backend['name']} says nothing about itself")
        expect(backend["name"] in text and backend["detail"] in text, f"the text leaves {backend['name']} out")
        for device in backend["devices"]:
            expect(device["name"] and device["compute_units"] > 0, f"a device of {backend['name']} is not described")
    expect(data["backends"][-1]["built"] and len(data["backends"][-1]["devices"]) == 1, "there is no CPU")
    run([programs.info, "--nonsense"], code=2)


def check_table(programs):
    text = run_rows(programs)
    lines = [line for line in text.splitlines() if re.match(r"\d+x\d+", line)]
    expect(len(lines) == EXPECTED_ROWS, f"the table has {len(lines)} rows, not {EXPECTED_ROWS}\n{text}")
    for line in text.splitlines():
        expect(len(line) <= WIDEST_LINE, f"a line of {len(line)} characters: {line}")
    heading = next(line for line in text.splitlines() if line.startswith("M x K x N"))
    for word in ("median", "floor", "pair", "speedup", "GB/s", "TFLOP/s", "kernel"):
        expect(word in heading, f"no column {word}")
    for word in ("cpu:0", "threads", "last-level cache", "seed 1", "cold"):
        expect(word in text[: text.index("M x K x N")], f"the heading lacks \"{word}\"")


def check_jsonl(programs):
    rows = [json.loads(line) for line in run_rows(programs, "--format", "jsonl").splitlines()]
    expect(len(rows) == EXPECTED_ROWS, f"{len(rows)} rows, not {EXPECTED_ROWS}")
    for row in rows:
        check_row(row)
    folded = run([programs.bench, *COMMON, "--shape", "4,64,64", "--folded", "all", "--dtype", "f32", "--format", "jsonl"])
    rows = [json.loads(line) for line in folded.stdout.splitlines()]
    expect([row["folded"] for row in rows] == [False, True], "--folded all does not give both")
    for row in rows:
        check_row(row)
    invariant = run([programs.bench, *COMMON, "--shape", "4,64,64", "--invariant", "--dtype", "f32", "--format", "jsonl"])
    row = json.loads(invariant.stdout)
    expect(row["batch_invariant"] is True, "--invariant is not in the row")
    check_row(row)
    with tempfile.TemporaryDirectory() as folder:
        timed = run([programs.bench, *COMMON, "--shape", "4,64,64", "--timed", "--dtype", "f32", "--format", "jsonl"],
                    env={**os.environ, "NORMA_CACHE_DIR": folder})
        expect(os.listdir(folder), "--timed keeps no choice")
    row = json.loads(timed.stdout)
    expect(row["timed"] is True, "--timed is not in the row")
    check_row(row)
    tensor = run([programs.bench, *COMMON, "--shape", "4,64,64", "--fp32-tensor", "--dtype", "f32", "--format", "jsonl"])
    row = json.loads(tensor.stdout)
    expect(row["fp32_tensor"] is True, "--fp32-tensor is not in the row")
    check_row(row)


def check_csv(programs):
    first = json.loads(run_rows(programs, "--format", "jsonl").splitlines()[0])
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.csv")
        table = run_rows(programs, "--format", "csv", "--out", path)
        expect("M x K x N" in table, "with --out the table is not shown")
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    expect(rows[0] == list(first), "csv and jsonl do not have the same fields in the same order")
    expect(len(rows) == EXPECTED_ROWS + 1, f"{len(rows) - 1} rows, not {EXPECTED_ROWS}")
    for row in rows[1:]:
        expect(len(row) == len(rows[0]), f"a row of {len(row)} fields, not {len(rows[0])}")
        named = dict(zip(rows[0], row))
        expect(named["verified"] == "true" and float(named["median_us"]) > 0, f"a bad row: {named}")
        expect((named["n"] == "") == (named["op"] == "rmsnorm"), "n is absent for a norm alone")
    run([programs.bench, *COMMON, *SHAPES, "--out", os.path.join(folder, "gone", "rows.csv")], code=2)


def check_list(programs):
    small = run([programs.bench, "--backend", "cpu", "--list", "--suite", "decode,prefill,norm,heads,backward"]).stdout
    full = run([programs.bench, "--backend", "cpu", "--list", "--suite", "all", "--scale", "full"]).stdout
    expect(set(small.splitlines()) < set(full.splitlines()), "the small scale is no part of the full one")
    for k, n in ((896, 1152), (3072, 9216), (4096, 28672), (8192, 57344)):
        expect(re.search(rf"decode .*\b{k} +{n} ", full) and re.search(rf"prefill .*\b{k} +{n} ", full),
               f"{k} x {n} is in no full suite")
    quick = run([programs.bench, "--backend", "cpu", "--list"]).stdout
    expect(len(quick.splitlines()) > 10, "the quick suite is short")
    only = run([programs.bench, "--backend", "cpu", "--list", "--dtype", "bf16", "--op", "rmsnorm"]).stdout.splitlines()[1:]
    expect(only and all(" bf16 " in line and " rmsnorm " in line for line in only), "--dtype and --op do not filter quick")


def check_options(programs):
    cases = [
        ["--nonsense"], ["stray"], ["--suite"], ["--suite", "nonsense"], ["--suite", ""], ["--dtype", "f64"],
        ["--dtype", "f32,"], ["--contract", "thrice"], ["--op", "linear"], ["--folded", "maybe"], ["--scale", "huge"],
        ["--format", "xml"], ["--shape", "1"], ["--shape", "1,2,3,4"], ["--shape", "1,0,3"], ["--shape", "1,-2"],
        ["--shape", "1,2,"], ["--shape", "1,2,3+"], ["--shape", "1,2+3"], ["--shape", "1,2,1+1+1+1+1"],
        ["--shape", "a,b"], ["--shape", "1,2,99999999999"], ["--time", "0"], ["--time", "nan"], ["--time", "x"],
        ["--seed", "-1"], ["--threads", "0"], ["--memory", "0"], ["--backend", "nonsense"], ["--backend", "cpu:9"],
        ["--backend", "cpu:x"],
    ]
    for case in cases:
        done = run([programs.bench, *case], code=2)
        expect(done.stdout == "", f"{case} printed to standard output: {done.stdout}")
        lines = done.stderr.splitlines()
        expect(len(lines) == 1 and lines[0].startswith("norma-bench: ") and len(lines[0]) > 25,
               f"{case} should be answered by one sentence: {done.stderr}")
    run([programs.bench, *COMMON, "--shape", "4,64,64", "--dtype", "f32", "--kernel", "nonsense"], code=1)
    expect("--shape" in run([programs.bench, "--help"]).stdout, "--help does not help")


def check_unusable(programs):
    """Backends without a device: named, an error that says why; with all, left out with the reason."""
    backends = json.loads(run([programs.info, "--json"]).stdout)["backends"]
    unusable = [backend for backend in backends if not backend["devices"]]
    if not unusable:
        sys.exit(77)
    for backend in unusable:
        with tempfile.NamedTemporaryFile("w+") as older:
            older.write("older results")
            older.flush()
            done = run([programs.bench, "--out", older.name], code=2,
                       env={**os.environ, "NORMA_BACKEND": backend["name"]})
            older.seek(0)
            expect(older.read() == "older results", "a failure wiped out the file of --out")
        reason = backend["detail"].split(":")[0]
        expect(backend["name"] in done.stderr and reason in done.stderr, f"the reason is not given: {done.stderr}")
        expect(done.stdout == "", f"a table without a device: {done.stdout}")
    done = run([programs.bench, "--backend", "all", "--shape", "1,64", "--dtype", "f32", "--memory", "96", "--time", "0.01"])
    for backend in unusable:
        expect(f"{backend['name']} is left out" in done.stderr, f"no word on {backend['name']}: {done.stderr}")
    expect("cpu:0" in done.stdout, "the CPU did not run")


def check_interrupt(programs):
    """Ctrl-C in the second row keeps the first and what was measured of the second."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.jsonl")
        shapes = [word for i in range(40) for word in ("--shape", f"{i + 1},256,256")]
        process = subprocess.Popen([programs.bench, *COMMON, *shapes, "--time", "2", "--dtype", "f32", "--format", "jsonl",
                                    "--out", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            end = time.monotonic() + 120
            while not (os.path.exists(path) and os.path.getsize(path) > 0):
                expect(process.poll() is None and time.monotonic() < end, "no row came")
                time.sleep(0.02)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        expect(time.monotonic() - began < 20, "it went on after Ctrl-C")
        expect(process.returncode == 130, f"exit code {process.returncode}, not 130: {errors}")
        with open(path, encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
    expect(1 <= len(rows) < 40, f"{len(rows)} rows were kept")
    for row in rows:
        check_row(row)


def find_matplotlib():
    for python in (sys.executable, "/usr/bin/python3"):
        if os.path.exists(python) and subprocess.run([python, "-c", "import matplotlib"], capture_output=True,
                                                     check=False).returncode == 0:
            return python
    print("python3-matplotlib is not installed")
    sys.exit(77)


def check_plot(programs):
    python = find_matplotlib()
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plot.py")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.jsonl")
        run_rows(programs, "--format", "jsonl", "--out", path)
        with open(path, encoding="utf-8") as file:
            pairs = any(json.loads(line)["speedup"] for line in file)
        run([python, script, path, "--out", os.path.join(folder, "plots")])
        for figure in ("roofline", "bandwidth") + (("speedup",) if pairs else ()):
            stem = os.path.join(folder, "plots", f"cpu0-{figure}")
            with open(stem + ".png", "rb") as file:
                expect(file.read(8) == b"\x89PNG\r\n\x1a\n", f"{figure}.png is no PNG")
            with open(stem + ".svg", encoding="utf-8") as file:
                expect("norma " in file.read(), f"{figure}.svg has no title")
        with open(path, "w", encoding="utf-8") as file:
            file.write("{}\n")
        expect("line 1" in run([python, script, path], code=1).stderr, "a bad file is not named")


def main():
    checks = {name[len("check_"):]: function for name, function in globals().items()
              if name.startswith("check_") and name != "check_row"}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=sorted(checks))
    parser.add_argument("--bench", required=True)
    parser.add_argument("--info", required=True)
    options = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("NORMA_")]:
        del os.environ[name]
    checks[options.check](options)


if __name__ == "__main__":
    main()
