"""HTTP/1.1 on the container server, made for short requests and long bodies.

`connection` is asyncio's protocol: it cuts what arrives into requests and writes their answers in
order. `heads` reads the lines before a body, `bodies` the body, `answers` writes. The last three
know no socket. Nothing here knows a model: `application` answers.
"""
