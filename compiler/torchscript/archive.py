"""A TorchScript file with nothing in it that says where, when, or after what it was written.

torch.jit.save writes the paths of Python files, for its stack traces, and numbers classes by what a process has traced
before. Neither is needed to load a file, and each would make another file of the same model.
"""

from __future__ import annotations

import io
import re
import zipfile

_LEFT_OUT = re.compile(r"\.debug_pkl$|/traced_inputs(\.pkl|/)|/\.data/serialization_id$")
_NUMBERED = re.compile(rb"\.___torch_mangle_[0-9]+(?=[.\n])")
_NUMBERED_FILE = re.compile(r"/___torch_mangle_[0-9]+(?=\.py$)")
_EPOCH = (1980, 1, 1, 0, 0, 0)


def canonical(data: bytes) -> bytes:
    """The same model in bytes that are the same for the same model. Its classes have to be of a module each."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as given, zipfile.ZipFile(out, "w") as made:
        for info in given.infolist():
            if _LEFT_OUT.search(info.filename):
                continue
            content = given.read(info)
            if info.filename.endswith((".py", ".pkl")):
                # In a pickle these names end with a line, so that no length before them has to change.
                content = _NUMBERED.sub(b"", content)
            name = _NUMBERED_FILE.sub("", info.filename)
            if name in made.namelist():
                raise ValueError(f"{name} would hold two classes")
            made.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return out.getvalue()
