# One visit of an Eclipse Paho client (python3-paho-mqtt 1.x or 2.x): connects with user name and password, subscribes,
# publishes to itself at every QoS, and prints what came as JSON lines. Arguments: port, version (311 or 5), user, password.

import json
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

port, version, username, password = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
protocol = mqtt.MQTTv5 if version == "5" else mqtt.MQTTv311
options = {"client_id": "paho-" + version, "protocol": protocol}
if hasattr(mqtt, "CallbackAPIVersion"):
    options["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION1
client = mqtt.Client(**options)
client.username_pw_set(username, password)
subscribed = threading.Event()
finished = threading.Event()
count = 0


def on_connect(client, *rest):
    client.subscribe("paho/#", 2)


def on_message(client, userdata, message):
    global count
    count += 1
    properties = getattr(message, "properties", None)
    pairs = getattr(properties, "UserProperty", None)
    print(json.dumps([message.topic, message.payload.decode(), message.qos, pairs]), flush=True)
    if count == 3:
        finished.set()


client.on_connect = on_connect
client.on_subscribe = lambda *rest: subscribed.set()
client.on_message = on_message
client.connect("127.0.0.1", port)
client.loop_start()
assert subscribed.wait(20), "no SUBACK"
for qos in (0, 1, 2):
    properties = None
    if version == "5":
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = [("b", "1"), ("a", "2"), ("b", "3")]
    info = client.publish("paho/%d" % qos, "m%d" % qos, qos, properties=properties)
    info.wait_for_publish()
assert finished.wait(20), "messages are missing"
client.disconnect()
client.loop_stop()
