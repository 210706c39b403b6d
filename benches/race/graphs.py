"""The race's graphs for onnxruntime-web, and what the page has to know of each.

    pip install torch diffusers onnx onnxscript onnxruntime
    python benches/race/graphs.py

writes *.onnx beside this script and web/bench/cases.json. The graphs hold no weights: each
initialiser names its place in a safetensors file that the page makes (web/bench/weights.js) and
both sides load. Layout of that file, the same here and there: names in order, f32, without gaps,
behind a header as JSON without spaces, padded to 64 bytes.

Each network comes in two: with attention as onnxruntime's own fused operator (com.microsoft
MultiHeadAttention), as its optimiser for Stable Diffusion would put it, so that the other side runs
as it runs best; and with attention composed of ONNX operators (*-plain.onnx), for adapters on which
the fused one gives wrong numbers.
"""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import onnxscript.optimizer
import torch
from diffusers import UNet2DConditionModel

HERE = Path(__file__).parent
WEB = HERE.parent.parent / "web"
SD15 = {
    # https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5/blob/main/unet/config.json
    "sample_size": 64, "in_channels": 4, "out_channels": 4, "cross_attention_dim": 768,
    "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "norm_num_groups": 32, "norm_eps": 1e-5, "flip_sin_to_cos": True, "freq_shift": 0,
}
BLOCK = "down_blocks.0."
TOKENS = 77


# --- attention in one operator ---------------------------------------------------------------

class Processor:
    fused = False

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        return attn.to_out[0](self.attention(q, k, v, attn.heads))

    def attention(self, q, k, v, heads):
        if Processor.fused:
            return torch.onnx.ops.symbolic("com.microsoft::MultiHeadAttention", (q, k, v), {"num_heads": heads},
                                           dtype=q.dtype, shape=q.shape, version=1)
        split = [x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v)]
        return torch.nn.functional.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)


class Block(torch.nn.Module):
    """The first block, with the checkpoint's own names; its last output, which all else leads to."""

    def __init__(self, unet):
        super().__init__()
        self.down_blocks = torch.nn.ModuleList([unet.down_blocks[0]])

    def forward(self, hidden, temb, context):
        return self.down_blocks[0](hidden, temb, encoder_hidden_states=context)[0]


class Whole(torch.nn.Module):
    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, sample, timestep, context):
        return self.unet(sample, timestep, context, return_dict=False)[0]


# --- where the weights lie ---------------------------------------------------------------------

def plain(name):
    return name.removeprefix("unet.")


def layout(shapes):
    """Name to (offset, length) in the safetensors file that the page makes."""
    header, end = {}, 0
    for name in sorted(shapes):
        length = 4 * math.prod(shapes[name])
        header[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [end, end + length]}
        end += length
    head = len(json.dumps(header, separators=(",", ":")))
    start = 8 + head + -(8 + head) % 64
    return {name: (start + at["data_offsets"][0], at["data_offsets"][1] - at["data_offsets"][0])
            for name, at in header.items()}


def without_weights(model, shapes):
    places = layout(shapes)
    for tensor in model.graph.initializer:
        name = plain(tensor.name)
        if name not in places:
            assert tensor.ByteSize() < 10_000, f"{tensor.name} {tensor.dims}"
            continue
        assert list(tensor.dims) == list(shapes[name]), name
        del tensor.external_data[:]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        offset, length = places.pop(name)
        for key, value in [("location", "weights.safetensors"), ("offset", offset), ("length", length)]:
            tensor.external_data.add(key=key, value=str(value))
    assert not places, f"not in the graph: {sorted(places)[:5]}"


# --- what a pass costs ---------------------------------------------------------------------------

# Neither arithmetic nor, in a good implementation, memory traffic of their own.
FREE = {"Reshape", "Transpose", "Constant", "Shape", "Unsqueeze", "Squeeze", "Concat", "Slice", "Split",
        "Cast", "Expand", "Identity", "Gather"}


def cost(model, shapes):
    """Floating-point operations (2 a multiply-add) of matmuls, convolutions and attention; bytes, if
    each operator reads its inputs and writes its output once, attention in one piece."""
    sizes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
             for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]}
    sizes |= {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    weights = sum(math.prod(shape) for shape in shapes.values())
    flops, moved, kinds = Counter(), 0, Counter()
    for node in model.graph.node:
        kinds[node.op_type] += 1
        ins = [sizes.get(name, []) for name in node.input]
        out = sizes[node.output[0]] if node.output[0] in sizes else None
        if node.op_type == "Conv":
            flops["convolution"] += 2 * math.prod(out) * math.prod(ins[1][1:])
        elif node.op_type == "MatMul":
            flops["linear"] += 2 * math.prod(out) * ins[0][-1]
        elif node.op_type == "Gemm":
            flops["linear"] += 2 * math.prod(out) * ins[1][-1]
        elif node.op_type == "MultiHeadAttention":
            (n, tokens, width), context = ins[0], ins[1][1]
            flops["attention"] += 4 * n * tokens * context * width
        if node.op_type not in FREE:
            assert out, node
            moved += math.prod(out) + sum(math.prod(size) for name, size in zip(node.input, ins)
                                          if plain(name) not in shapes)
    print("  operators:", dict(kinds))
    print("  GFLOP:", {kind: round(n / 1e9, 3) for kind, n in flops.items()})
    return {"flops": sum(flops.values()), "weights": 4 * weights, "bytes": 4 * (moved + weights)}


# --- one case ------------------------------------------------------------------------------------

def export(name, module, inputs, shapes):
    """Both graphs; what a pass costs is told of the first."""
    about = None
    for fused, file in [(True, f"{name}.onnx"), (False, f"{name}-plain.onnx")]:
        print(file)
        model = exported(module.eval(), inputs, shapes, fused)
        about = about or cost(model, shapes)
        del model.graph.value_info[:]
        without_weights(model, shapes)
        onnx.save(model, HERE / file)
        print(f"  {(HERE / file).stat().st_size} bytes")
        compare(file, module, inputs, shapes)
    return {"graphs": [f"{name}.onnx", f"{name}-plain.onnx"], **about,
            "inputs": {key: list(value.shape) for key, value in inputs.items()}}


def exported(module, inputs, shapes, fused):
    example = tuple(torch.from_numpy(value) for value in inputs.values())
    Processor.fused = fused
    program = torch.onnx.export(module, example, dynamo=True, opset_version=18, optimize=False,
                                input_names=list(inputs), output_names=["output"])
    Processor.fused = False
    # Shapes are folded, weights stay as they are in the file: the session folds those itself.
    keep = lambda node: False if any(v is not None and plain(v.name) in shapes for v in node.inputs) else None
    onnxscript.optimizer.optimize_ir(program.model, should_fold=keep)
    model = onnx_ir.serde.serialize_model(program.model)
    # The exporter's notes on where everything comes from: four fifths of the file.
    del model.metadata_props[:], model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*model.graph.initializer, *model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
    return model


def compare(graph, module, inputs, shapes):
    """The file's graph in onnxruntime with weights from such a safetensors file, against torch."""
    file = HERE / "weights.safetensors"
    places = layout(shapes)
    state = {plain(key): value for key, value in module.state_dict().items()}
    with open(file, "wb") as out:
        for key in sorted(shapes):
            out.seek(places[key][0])
            out.write(state[key].numpy().tobytes())
    try:
        session = onnxruntime.InferenceSession(HERE / graph, providers=["CPUExecutionProvider"])
        got = session.run(None, inputs)[0]
    finally:
        file.unlink()
    with torch.no_grad():
        wanted = module(*(torch.from_numpy(value) for value in inputs.values())).numpy()
    print(f"  largest value {np.abs(wanted).max():.3f}, difference from torch {np.abs(got - wanted).max():.1e}")
    assert np.abs(got - wanted).max() < 1e-3 * np.abs(wanted).max()


def random(*shape):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def prepared(unet):
    unet.set_attn_processor(Processor())
    return unet.eval()


def filled(unet):
    """Random weights by the page's rule (web/bench/weights.js), though not its numbers. (Those of a
    new network won't do: the exporter would take one norm for another, both being ones.)"""
    with torch.no_grad():
        for name, value in unet.named_parameters():
            uniform = torch.rand_like(value) * 2 - 1
            if value.dim() == 1:
                value.copy_(0.1 * uniform + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
            else:
                value.copy_(uniform * math.sqrt(3 / math.prod(value.shape[1:])))
    return unet


def shapes_of(unet, prefix=""):
    return {key: list(value.shape) for key, value in unet.state_dict().items() if key.startswith(prefix)}


def main():
    torch.manual_seed(0)
    demo = prepared(UNet2DConditionModel.from_pretrained(WEB / "demo-model/model/unet", variant="fp16").float())
    sd15 = prepared(filled(UNet2DConditionModel.from_config(SD15)))
    every, block = shapes_of(sd15), shapes_of(sd15, BLOCK)
    width = demo.config.cross_attention_dim
    times = np.array([501.0, 501.0], dtype=np.float32)
    cases = {
        "demo": export("demo", Whole(demo), {
            "sample": random(2, 4, 16, 16), "timestep": times, "context": random(2, TOKENS, width),
        }, shapes_of(demo)),
        "block": export("block", Block(sd15), {
            "hidden": random(1, 320, 64, 64), "temb": random(1, 1280), "context": random(1, TOKENS, 768),
        }, block),
        "sd15": export("sd15", Whole(sd15), {
            "sample": random(1, 4, 32, 32), "timestep": times[:1], "context": random(1, TOKENS, 768),
        }, every),
    }
    # A line a tensor is readable and packs well.
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(shape)}" for key, shape in sorted(every.items()))
    (WEB / "bench").mkdir(exist_ok=True)
    (WEB / "bench/cases.json").write_text(
        "{\n" + ",\n".join(f"\"{name}\": {json.dumps(case)}" for name, case in cases.items()) + "\n}\n")
    (WEB / "bench/sd15-unet.json").write_text(
        "{\n\"config\": " + json.dumps(SD15) + ",\n\"tensors\": {\n" + lines + "\n}}\n")


if __name__ == "__main__":
    main()
