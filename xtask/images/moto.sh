#!/bin/sh
# Starts moto, a stand-in for AWS's services, on port 5000; extra arguments go to the server. Any credentials will do.
PYTHONPATH=/opt/moto exec python3 -m moto.server -H 0.0.0.0 -p 5000 "$@"
