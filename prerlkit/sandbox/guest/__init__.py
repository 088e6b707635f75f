"""What runs inside the sandbox: each module is sent there as code, so it imports only the standard library.

The guest gets its work as marshal, which only a trusted sender may write, and answers in JSON, which anyone may read.
"""
