"""Makes docs/strengths.png with the command line (needs Pillow).

    cargo build --release --example text_to_image
    python docs/strengths.py target/release/examples/text_to_image
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROWS = [("smiling face with sunglasses", 11), ("blue cat face", 12), ("fox", 3)]
COLUMNS = [(name, strength) for name in ("ink", "soft") for strength in ("0", "0.5", "1")]
SIZE, GAP, TOP = 128, 10, 26

root = Path(__file__).parent.parent
demo = root / "web/demo-model"
sheet = Image.new(
    "RGB", (GAP + len(COLUMNS) * (SIZE + GAP) + 12, TOP + len(ROWS) * (SIZE + GAP)), "white"
)
draw = ImageDraw.Draw(sheet)
with tempfile.TemporaryDirectory() as folder:
    picture = Path(folder) / "picture.png"
    for column, (name, strength) in enumerate(COLUMNS):
        x = GAP + column * (SIZE + GAP) + (12 if name == "soft" else 0)
        font = ImageFont.load_default(14)
        draw.text((x + SIZE / 2, TOP / 2), f"{name} {strength}", "#223", anchor="mm", font=font)
        for row, (prompt, seed) in enumerate(ROWS):
            adapter = f"{demo}/lora/{name}.kohya.safetensors:{strength}"
            command = [sys.argv[1], "--quiet", "--model", demo / "model", "--adapter", adapter]
            command += ["--prompt", prompt, "--seed", str(seed), "--guidance", "4"]
            subprocess.run([*command, "--out", picture], check=True)
            sheet.paste(Image.open(picture).convert("RGB"), (x, TOP + row * (SIZE + GAP)))
sheet.save(root / "docs/strengths.png", optimize=True)
