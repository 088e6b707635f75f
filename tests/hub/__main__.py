"""`python -m tests.hub`: a Hub by hand, which knows the token `hf_me` of the user "me" and forgets all when it ends."""

import threading

from tests.hub import Hub

hub = Hub(8018)
hub.user("hf_me", "me")
print(f"export HF_ENDPOINT={hub.url} HF_HUB_DISABLE_XET=1 HF_TOKEN=hf_me", flush=True)
threading.Event().wait()
