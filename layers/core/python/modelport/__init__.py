"""modelport: a model file in, a versioned HTTPS service on AWS out.

This package is what a version *is* and where it is kept: names, signatures, manifests, routes and
the registry. It is the wheel people install and the layer every function and image carries, minus
the command line. It must not import a web framework or the CDK.
"""

__version__ = "0.1.0"
