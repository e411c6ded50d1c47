"""Shadow versions: what is copied for them, and whether they answer as the caller was answered.

The router writes a `message`, the worker asks the shadow version and holds the two answers against
each other (`agreement`). Runs in functions and in the command line, never in a model image.

These shadows are modelport's own: any deployed version of any target (a GPU endpoint behind a live
Lambda function, or the other way round), chosen in a model's routes without a deploy, sampled, and
compared. A shadow variant of SageMaker's (``deployments.toml``) is a second variant inside one
endpoint: SageMaker copies requests to it and keeps both answers in its data capture, where nobody
compares them, and it cannot be a version that runs elsewhere.
"""
