"""How well settings tune the demo model: the table of docs/tuning.md.

    cargo build --release --example tune
    python3 docs/tuning.py target/release/examples/tune [NAME...] >> runs.jsonl
    python3 docs/tuning.py --table runs.jsonl

Every run starts from the eight PNG files of web/demo-model/training-set and is measured on the eight of
tests/fixtures/demo-model/held-out-set, at the fixed timesteps and noise of the reference
(tests/fixtures/demo-model/light-tuning/expected.safetensors). Nothing but Python's standard library.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ADAMW = {"name": "adamW", "betas": [0.9, 0.999], "eps": 1e-8, "weightDecay": 0.01}
# light.json
LIGHT = {"targets": "attention", "rank": 8, "alpha": 8, "init": "gaussian", "learningRate": 0.002, "warmup": 10,
         "schedule": "constant", "steps": 100, "batch": 4, "captionDropout": 0.1, "timesteps": "uniform", "clip": 1.0,
         "optimizer": ADAMW}
# The same with the learning rate of the rule.
AUTO = {key: value for key, value in LIGHT.items() if key != "learningRate"}
RUNS = {
    **{f"light, seed {seed}": {**LIGHT, "seed": seed} for seed in range(1, 11)},
    **{f"defaults, seed {seed}": {"seed": seed} for seed in range(5)},
    **{f"to 0 over the last fifth, seed {seed}": {"seed": seed, "schedule": "constantThenLinear"} for seed in range(5)},
    "rule, light": AUTO,
    "rule, alpha 1": {**AUTO, "alpha": 1},
    "rule, alpha 32": {**AUTO, "alpha": 32},
    "rule, kaiming": {**AUTO, "init": "kaiming"},
    "rule, orthogonal": {**AUTO, "init": "orthogonal"},
    "rule, 50 steps": {**AUTO, "steps": 50},
    "rule, 200 steps": {**AUTO, "steps": 200},
    "rule, rank 2": {**AUTO, "rank": 2, "alpha": 2},
    "rule, rank 32": {**AUTO, "rank": 32, "alpha": 32},
    "gentle": {"strength": "gentle"},
    "strong": {"strength": "strong"},
    "DoRA": {"kind": "dora"},
    "LoHa": {"kind": "loha"},
    "LoKr": {"kind": "lokr"},
    "LoCon": {"targets": "convolution"},
    "PiSSA": {"init": "pissa"},
    "orthogonal": {"init": "orthogonal"},
    "Lion": {"optimizer": {"name": "lion"}},
    "Prodigy": {"optimizer": {"name": "prodigy", "d0": 1e-4}, "learningRate": 1.0},
    "200 steps": {"steps": 200},
    "dropout .1": {"dropout": 0.1},
    "rank dropout .1": {"rankDropout": 0.1},
    "module dropout .1": {"moduleDropout": 0.1},
    "L2 1e-3": {"l2": 1e-3},
    "weight decay 1": {"optimizer": {**ADAMW, "weightDecay": 1.0}},
    "prior by prompt": {"prior": {"weight": 1.0, "classPrompt": "", "every": 1}},
    "LoRA+ 4": {"loraPlus": 4.0},
    "noise offset .05": {"noiseOffset": 0.05},
    "min-SNR 5": {"weighting": {"name": "minSnr", "gamma": 5.0}},
    "uniform timesteps": {"timesteps": "uniform"},
    "cosine": {"schedule": "cosine"},
    "batch 8": {"batch": 8},
}


def run(tune, name, settings):
    with tempfile.TemporaryDirectory() as folder:
        config, log = f"{folder}/config.json", f"{folder}/log.jsonl"
        with open(config, "w") as file:
            json.dump({"evaluateEvery": 0, **settings}, file)
        started = time.time()
        subprocess.run([tune, "--model", "web/demo-model/model", "--images", "web/demo-model/training-set", "--held-out",
                        "tests/fixtures/demo-model/held-out-set", "--config", config, "--out", f"{folder}/out.safetensors",
                        "--log", log, "--quiet"], cwd=ROOT, check=True)
        lines = [json.loads(line) for line in open(log)]
    last = [line for line in lines if line["kind"] == "evaluation"][-1]
    rates = [line["learningRate"] for line in lines if line["kind"] == "step"]
    return {"name": name, "heldOut": last["heldOut"]["loss"], "ratio": last["heldOut"]["ratio"],
            "train": last["train"]["loss"], "drift": last["drift"], "diversity": last["diversity"],
            "verdict": last["verdict"], "learningRate": max(rates), "seconds": round(time.time() - started)}


def table(path):
    print("| settings | held-out | ratio | tuned | drift | learning rate |")
    print("|---|---|---|---|---|---|")
    for line in open(path):
        row = json.loads(line)
        print(f"| {row['name']} | {row['heldOut']:.4f} | {row['ratio']:.3f} | {row['train']:.4f} | {row['drift']:.2f} | "
              f"{row['learningRate']:.2e} |")


if sys.argv[1] == "--table":
    table(sys.argv[2])
else:
    for name in sys.argv[2:] or RUNS:
        print(json.dumps(run(os.path.abspath(sys.argv[1]), name, RUNS[name])), flush=True)
