#!/bin/sh
# Take out of the installed packages what no run needs, in the layer that installed them: tests, C++ headers, programs
# of torch, symbols of its libraries where `strip` is there. h5py imports its tests, torch one of its programs.
set -eu
packages=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
find "$packages" -type d -name tests ! -path '*/h5py/tests' -prune -exec rm -rf {} +
if [ -d "$packages/torch" ]; then
    rm -rf "$packages/torch/test" "$packages/torch/include"
    find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete
    if command -v strip >/dev/null; then
        strip --strip-unneeded "$packages/torch/lib/libtorch_cpu.so" "$packages/torch/lib/libtorch_python.so"
    fi
    python -B -c 'import torch; assert float((torch.ones(9, 9) @ torch.ones(9))[0]) == 9'
fi
