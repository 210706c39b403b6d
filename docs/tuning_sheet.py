"""Makes docs/tuning.png with the command line (needs Pillow).

    cargo build --release --example text_to_image --example tune
    python docs/tuning_sheet.py target/release/examples

An adapter is trained on the eight pictures of web/demo-model/training-set with the default settings; then
each of their names, and of the held-out ones, is drawn without and with it: 20 steps of the model's own
scheduler, guidance 4, seed = column. Below them the true pictures of the style.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIZE, GAP, TOP, LEFT = 96, 6, 40, 74
ROWS = ["base", "tuned", "true style"]

root = Path(__file__).parent.parent
model = root / "web/demo-model/model"
tools = Path(sys.argv[1])
sets = [root / "web/demo-model/training-set", root / "tests/fixtures/demo-model/held-out-set"]
pictures = [[*sorted(folder.glob("*.png"))] for folder in sets]
width = LEFT + GAP + sum(map(len, pictures)) * (SIZE + GAP) + 3 * GAP
sheet = Image.new("RGB", (width, TOP + len(ROWS) * (SIZE + GAP)), "white")
draw = ImageDraw.Draw(sheet)
for row, name in enumerate(ROWS):
    y = TOP + row * (SIZE + GAP) + SIZE / 2
    draw.text((GAP, y), name, "#223", anchor="lm", font=ImageFont.load_default(13))
with tempfile.TemporaryDirectory() as folder:
    adapter, out = f"{folder}/night.safetensors", f"{folder}/picture.png"
    subprocess.run(
        [tools / "tune", "--quiet", "--model", model, "--images", sets[0], "--out", adapter], check=True
    )
    column = 0
    for group, title in zip(pictures, ["tuned on these", "never seen"]):
        offset = 0 if group is pictures[0] else 3 * GAP
        start = LEFT + GAP + column * (SIZE + GAP) + offset
        middle = start + len(group) * (SIZE + GAP) / 2
        draw.text((middle, 10), title, "#223", anchor="mm", font=ImageFont.load_default(13))
        for picture in group:
            x = LEFT + GAP + column * (SIZE + GAP) + offset
            prompt = picture.with_suffix(".txt").read_text().strip()
            draw.text((x + SIZE / 2, 29), prompt, "#556", anchor="mm", font=ImageFont.load_default(11))
            for row, extra in enumerate([[], ["--adapter", adapter]]):
                subprocess.run(
                    [tools / "text_to_image", "--quiet", "--model", model, "--prompt", prompt, "--seed", str(column),
                     "--guidance", "4", "--out", out, *extra],
                    check=True,
                )
                drawn = Image.open(out).convert("RGB").resize((SIZE, SIZE), Image.LANCZOS)
                sheet.paste(drawn, (x, TOP + row * (SIZE + GAP)))
            true = Image.open(picture).convert("RGB").resize((SIZE, SIZE), Image.LANCZOS)
            sheet.paste(true, (x, TOP + 2 * (SIZE + GAP)))
            column += 1
sheet.save(root / "docs/tuning.png", optimize=True)
