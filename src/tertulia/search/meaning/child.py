"""Process that runs the embedding model: one thread at low priority, which ends with its parent.

Start it with `python -m tertulia.search.meaning.child MODEL_FILE TOKENIZER_FILE`. Each line of standard input is a JSON
list of texts. Each answer is a line with a JSON list of their vectors, as signed bytes in base64.
"""

import base64
import json
import os
import sys
from collections.abc import Callable

MAX_TOKENS = 256


def main() -> None:
    os.nice(15)
    embed = load(sys.argv[1], sys.argv[2])
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        vectors = [base64.b64encode(vector).decode() for vector in embed(json.loads(line))]
        print(json.dumps(vectors), flush=True)


def load(model: str, tokens: str) -> Callable[[list[str]], list[bytes]]:
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(tokens)
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def embed(texts: list[str]) -> list[bytes]:
        encodings = tokenizer.encode_batch(texts)
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = session.run(None, inputs)[0]
        means = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
        units = means / np.linalg.norm(means, axis=1, keepdims=True)
        return [row.tobytes() for row in np.rint(units * 127).astype(np.int8)]

    return embed


if __name__ == "__main__":
    main()
