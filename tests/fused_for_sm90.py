"""Compiles every kernel for an H100, which needs none, and asks ptxas for registers and spills.

Run by test_pipeline_fused in a process of its own: the interpreter must not be chosen.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from slvr.pipeline.frontends.bank import BAND_BLOCK
from slvr.pipeline.fused import chain_kernels as chain
from slvr.pipeline.fused import front_end, launches
from slvr.pipeline.fused import mel_kernels as mel
from slvr.pipeline.fused import vocoder_kernels as vocoder
from slvr.pipeline.fused.schedule import LONGEST

PTXAS = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"
REAL, DOUBLE, INT, LONG = "*fp32", "*fp64", "*i32", "*i64"
KINDS = {
    **dict.fromkeys(("rows", "made", "spectra"), LONG),
    **dict.fromkeys(("steps", "turns"), DOUBLE),
    **dict.fromkeys(("anchors", "codes", "jobs", "which", "seeds"), INT),
    **dict.fromkeys(("first_bins", "widest_bins"), INT),
    **dict.fromkeys(("a0", "a1", "a2", "a3", "a4", "a5"), "i64"),
    **dict.fromkeys(("n_samples", "noise_samples", "n_blocks", "widest", "widest_made"), "i32"),
    **dict.fromkeys(("n_wanted", "n_present", "first"), "i32"),
    **dict.fromkeys(("n_frames", "n_bins", "n_mels", "frame", "hop"), "i32"),
}
RUN = {"OPS": LONGEST, "BLOCK": launches.BLOCK_SAMPLES}
TILE = {"FRAMES": front_end.FRAMES, "BANDS": BAND_BLOCK}
KERNELS = [
    (vocoder.frame_rows, {"BLOCK": 512}, 4),
    (vocoder.frame_energies, {"BLOCK": 512}, 4),
    (vocoder.find_anchors, {"BLOCK": 1024}, 4),
    (vocoder.vocode, {"BLOCK": launches.BLOCK_BINS}, launches.BINS_WARPS),
    (vocoder.overlap_add, {"HOPS": 3, "BLOCK": launches.BLOCK_SAMPLES}, 8),
    (vocoder.overlap_add, {"HOPS": 4, "BLOCK": launches.BLOCK_SAMPLES}, 8),
    (vocoder.find_levels, {"BLOCK": 1024}, 4),
    (chain.run_programs, {**RUN, "ENERGY": False}, 4),
    (chain.run_programs, {**RUN, "ENERGY": True}, 4),
    (chain.find_noise_levels, {"BLOCK": 256}, 4),
    (chain.colour_noise, {"BLOCK": 512}, 4),
    (mel.frame_reflected, {"BLOCK": 1024}, 4),
    (mel.mel_images, {"CHANNELS": 1, **TILE}, front_end.WARPS),
    (mel.mel_images, {"CHANNELS": 3, **TILE}, front_end.WARPS),
]


def compiled(kernel, constants, n_warps):
    """The lines of ptxas about one kernel."""
    names = kernel.arg_names
    signature = {name: KINDS.get(name, REAL) for name in names}
    signature |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    target = GPUTarget("cuda", 90, 32)
    made = triton.compile(source, target=target, options={"num_warps": n_warps})
    assert "cubin" in made.asm
    with tempfile.TemporaryDirectory() as folder:
        ptx = Path(folder, "kernel.ptx")
        ptx.write_text(made.asm["ptx"])
        command = [PTXAS, "-arch=sm_90a", "-v", ptx, "-o", Path(folder, "kernel.cubin")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr


if __name__ == "__main__":
    for each in KERNELS:
        said = compiled(*each)
        used = next(line for line in said.splitlines() if "registers" in line)
        print(each[0].__name__, each[1], used.partition(":")[2].strip())
        if "0 bytes spill stores, 0 bytes spill loads" not in said:
            sys.exit(f"{each[0].__name__} {each[1]} spills registers: {said}")
