"""Uses the generated client over the node's unix socket, as a program would."""

import io
import json
import sys

import httpx
from m2mesh_client import Client
from m2mesh_client.api.api import consume, contacts, inbox, metrics, publish, request, send, status
from m2mesh_client.api.stream import send_lines
from m2mesh_client.models import ConsumeBody, ErrorBody, Outcome, PublishBody, RequestBody, SendBody
from m2mesh_client.types import File

client = Client(base_url="http://localhost")
client.set_httpx_client(
    httpx.Client(base_url="http://localhost", transport=httpx.HTTPTransport(uds=sys.argv[1]))
)


def word(outcome):
    return str(outcome.outcome)


delivered = send.sync(client=client, body=SendBody(to="meter", payload="21.5", deadline="5s"))
assert isinstance(delivered, Outcome), delivered
assert (word(delivered), delivered.hops, delivered.price) == ("delivered", 2, 1.5), delivered

refused = send.sync(client=client, body=SendBody(to="meter", payload="refuse"))
assert (word(refused), refused.reason) == ("refused", "it does not want it"), refused

wrong = send.sync(client=client, body=SendBody(to="", payload="21.5"))
assert isinstance(wrong, ErrorBody) and wrong.hint, wrong

replied = request.sync(client=client, body=RequestBody(to="meter", service="clock", payload="now"))
assert (word(replied), replied.payload) == ("replied", "12:00"), replied

sent = publish.sync(client=client, body=PublishBody(topic="plant/a", payload="21"))
assert (word(sent), sent.neighbours) == ("sent", 3), sent

lines = send_lines.sync_detailed(client=client, to="meter", body=File(payload=io.BytesIO(b"one\ntwo\n")))
outcomes = [json.loads(line) for line in lines.content.splitlines()]
assert sorted(outcome["line"] for outcome in outcomes) == [1, 2], outcomes
assert all(outcome["outcome"] == "delivered" for outcome in outcomes), outcomes

assert [contact.name for contact in contacts.sync(client=client)] == ["meter"]
page = inbox.sync(client=client)
assert [message.payload for message in page.messages][0] == "21.5", page
assert page.messages[1].payload_base64 == "/wA=", page
said = status.sync(client=client)
assert (said.name, said.links, said.counters["data_looped"]) == ("hub", 4, 2), said
assert "\nm2mesh_links 4\n" in metrics.sync(client=client)
consume.sync(client=client, body=ConsumeBody(up_to=2))
print("all of it")
