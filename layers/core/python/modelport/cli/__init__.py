"""The ``modelport`` command; needs the ``cli`` extra and ships in no image and no layer.

It uses the public library only, so everything it does can be done from Python too.
"""
