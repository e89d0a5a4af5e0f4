"""What a peer would ship: a Llama-shaped decoder over flat tokens, through transformers.generate, on one thread.

    python -P -m models.training.peer serve PARAMETERS WIDTH LAYERS HEADS    in: tokens before, tokens; out: seconds
    python -P -m models.training.peer weights SIZE FOLDER                    random weights of a size of ours

It is what `descant bench` holds the engine against, and runs as a process of its own.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

TOKENS_A_NOTE = 4.5  # of a flat encoding (REMI+) on POP909
VOCABULARY = 1000


def serve(parameters: int, width: int, layers: int, heads: int) -> None:
    """Read and generate as many tokens as each line of the input says; answer with seconds on the clock and of
    processor. heads: at most so many."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    wide = max(1, round(((parameters - VOCABULARY * width) / layers - 4 * width * width) / (3 * width)))
    config = LlamaConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=sharing(width, heads),
        intermediate_size=wide,
        vocab_size=VOCABULARY,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
    )
    model = LlamaForCausalLM(config).eval()
    print(json.dumps({"parameters": sum(p.numel() for p in model.parameters())}), flush=True)
    for line in sys.stdin:
        before, tokens = map(int, line.split())
        prompt = torch.randint(0, VOCABULARY, (1, before))
        clock, processor = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            model.generate(prompt, max_new_tokens=tokens, do_sample=True, eos_token_id=None, pad_token_id=0)
        spent = {"wall": time.perf_counter() - clock, "cpu": time.process_time() - processor}
        print(json.dumps(spent), flush=True)


def sharing(width: int, heads: int) -> int:
    """As many heads as share a width evenly, each an even part of it that can be turned; `heads` at most."""
    return next(count for count in range(heads, 0, -1) if width % (2 * count) == 0)


def random_weights(size: str, folder: Path) -> None:
    """Write weights of a size that nothing was learned into."""
    import torch

    from models.architecture import SIZES
    from models.training.checkpoint import export_weights
    from models.transformer import MusicTransformer

    torch.manual_seed(0)
    export_weights(MusicTransformer(SIZES[size]), folder, {})


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*(int(word) for word in sys.argv[2:6]))
    else:
        random_weights(sys.argv[2], Path(sys.argv[3]))
