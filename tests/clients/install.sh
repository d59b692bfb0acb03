#!/bin/sh
# Installs other people's clients of etcd, each with its language's own package
# manager, into the folder that is given. What cannot be installed is written
# to the file `skipped` in it, with the reason, and the tests pass it over.
# A client is installed again only when its files here or its language's own
# version have changed.
set -eu
from=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
to=$(cd "$1" && pwd)
skipped=$to/skipped
: >"$skipped"

# need PROGRAM...: says which programs are missing, and fails.
need() {
	for program; do
		command -v "$program" >/dev/null || { echo "$program is not installed"; return 1; }
	done
}

# client LANGUAGE NAME...: installs with install_LANGUAGE, or writes down who is skipped.
client() {
	language=$1; shift
	log=$to/install-$language.log
	mark=$(cd "$from" && {
		find "$language" -type f | LC_ALL=C sort | xargs cat
		"version_$language" 2>&1
	} | cksum)
	[ "$(cat "$to/$language.installed" 2>/dev/null)" != "$mark" ] || return 0
	echo "    clients for $language"
	if (cd "$from/$language" && "install_$language") >"$log" 2>&1; then
		echo "$mark" >"$to/$language.installed"
		return 0
	fi
	rm -f "$to/$language.installed"
	reason=$(grep -v '^[[:space:]]*$' "$log" | tail -n 1 | cut -c1-200)
	for name; do
		echo "$name: ${reason:-it cannot be installed} (see $log)" >>"$skipped"
	done
}

version_python() { python3 --version; }
version_node() { node --version; }
version_go() { go version; }
version_java() { java -version; }

install_python() {
	need python3 || return 1
	rm -rf "$to/python" &&
		python3 -m venv "$to/python" &&
		"$to/python/bin/pip" install --disable-pip-version-check --no-deps --quiet \
			--only-binary grpcio --requirement requirements.txt
}

install_node() {
	need node npm || return 1
	rm -rf "$to/node" && mkdir "$to/node" &&
		cp package.json package-lock.json "$to/node" &&
		npm ci --prefix "$to/node" --omit=dev --ignore-scripts --no-audit --no-fund \
			--loglevel=error
}

install_go() {
	need go || return 1
	mkdir -p "$to/go" && go build -trimpath -o "$to/go/drive" .
}

install_java() {
	need java javac mvn || return 1
	rm -rf "$to/java" &&
		mvn -B -q dependency:copy-dependencies -DoutputDirectory="$to/java" &&
		javac -d "$to/java/ours" -cp "$to/java/*" ./*.java
}

client python 'etcd3 for Python' 'aetcd for Python' 'etcd3gw for Python'
client node 'etcd3 for Node.js'
client go 'clientv3 for Go'
client java 'jetcd for Java'

while read -r line; do
	echo "SKIPPED: $line" >&2
done <"$skipped"
