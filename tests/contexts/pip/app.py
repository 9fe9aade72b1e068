import sys

import flask

app = flask.Flask(__name__)


@app.route("/")
def index():
    return f"flask on python {sys.version_info.major}\n"


app.run(host="127.0.0.1", port=int(sys.argv[1]))
