"""Reads a checkpoint without any code of ours and compares it with raw arrays: FOLDER-OF-VERSION EXPECTED.bin"""
import json, os, re, struct, sys

folder, expected_path = sys.argv[1:]
manifest = json.load(open(os.path.join(folder, "manifest.json"), encoding="utf-8"))
tensors = {}  # (section, name) -> elements as bytes
sizes = {}
for tensor in manifest["model"]:
    sizes[tensor["name"]] = 4
    for extent in tensor["shape"]:
        sizes[tensor["name"]] *= extent
sections = ["parameters"] + ["optimizer/" + state for state in manifest["optimizer"]["state"]]
seen = 0
for entry in manifest["files"]:
    data = open(os.path.join(folder, entry["name"]), "rb").read()
    assert len(data) == entry["bytes"]
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    assert int(metadata["version"]) == manifest["version"]
    names = sorted(header, key=lambda name: name.encode())
    assert [header[n]["data_offsets"][0] for n in names] == sorted(h["data_offsets"][0] for h in header.values())
    for name, info in header.items():
        begin, end = (8 + length + offset for offset in info["data_offsets"])
        section, first, tensor = re.fullmatch(r"(%s)(?:@(\d+))?/(.*)" % "|".join(sections), name, re.S).groups()
        whole = tensors.setdefault((section, tensor), bytearray(sizes[tensor]))
        at = 4 * int(first or 0)
        whole[at : at + end - begin] = data[begin:end]
        seen += end - begin
        assert begin % 4 == 0 and info["dtype"] == "F32"
        if not first:
            shape = next(t["shape"] for t in manifest["model"] if t["name"] == tensor)
            assert info["shape"] == shape, (name, info["shape"], shape)
            try:
                import numpy
                numpy.frombuffer(data, dtype="<f4", count=(end - begin) // 4, offset=begin).reshape(shape)
            except ImportError:
                pass
expected = open(expected_path, "rb").read()
assert seen == len(expected), (seen, len(expected))
for section in sections:
    for tensor in manifest["model"]:
        size = sizes[tensor["name"]]
        assert bytes(tensors[section, tensor["name"]]) == expected[:size], (section, tensor["name"])
        expected = expected[size:]
print("read", seen, "bytes of elements in", len(manifest["files"]), "files")
