#!/bin/sh
# Starts moto, a stand-in for AWS's services, on port 5000; extra arguments go to the server. Any credentials will do.
# Its answers name moto's version as the server's, which moto itself tells nobody.
PYTHONPATH=/opt/moto exec python3 -c '
from importlib.metadata import version
from moto.server import main
from werkzeug.serving import WSGIRequestHandler
server = "moto/" + version("moto")
WSGIRequestHandler.version_string = lambda handler: server
main()' -H 0.0.0.0 -p 5000 "$@"
