"""The program inside every model image: one data plane behind two transports.

`handler` answers Lambda invokes, `server` answers HTTP on port 8080 (SageMaker, docker run,
Kubernetes). Both hand an `envelope.Request` to the same `DataPlane`. Nothing here may import an
AWS SDK or a web framework: a model image answers without AWS.
"""
