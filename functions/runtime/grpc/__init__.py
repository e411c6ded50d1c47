"""Open Inference V2 over gRPC, beside HTTP/1.1 on the same port of the container server.

`connection` speaks HTTP/2, `transcoding` turns each call into a V2 request of the data plane and
its answer back, `messages` are the protocol's messages. Nothing here runs a model or knows what a
tensor means, so gRPC cannot answer differently from REST. Not for Lambda, whose API Gateway does
not carry it. Imported with the first gRPC connection: most servers never see one.
"""
