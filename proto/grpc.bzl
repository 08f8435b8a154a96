"""C++ and gRPC code from .proto files by Debian's protoc."""

def cc_grpc_library(name, srcs):
    """A cc_library with the messages and services of srcs.

    Args:
      name: of the library.
      srcs: .proto files of this package; they import each other by their path from the root.
    """
    stems = [src[:-len(".proto")] for src in srcs]
    headers = [s + ext for s in stems for ext in [".pb.h", ".grpc.pb.h"]]
    sources = [s + ext for s in stems for ext in [".pb.cc", ".grpc.pb.cc"]]
    native.genrule(
        name = name + "_generate",
        srcs = srcs,
        outs = headers + sources,
        cmd = "/usr/bin/protoc -I. --plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin " +
              "--cpp_out=$(GENDIR) --grpc_out=$(GENDIR) $(SRCS)",
    )
    native.cc_library(
        name = name,
        srcs = sources,
        hdrs = headers,
        copts = ["-Wno-error"],
        deps = ["@system//:grpc"],
    )
