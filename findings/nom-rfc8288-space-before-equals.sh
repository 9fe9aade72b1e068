#!/bin/bash
# nom-rfc8288 0.4.0: a space after the equals sign of a Link header's parameter is skipped, the same space before it is an error.
#
# RFC 8288 (3) has the parameter as `token BWS [ "=" BWS ( token / quoted-string ) ]`, with the same optional white space on both
# sides, which a recipient has to parse and remove (RFC 9110, 5.6.3). The crate's strict parser and its lenient one, which forgives
# an empty parameter, agree in this. A whole header is refused for it, the other links with it, so a client that takes the error for
# "no Link" believes that a list of several pages ends with the first.
#
# Seen:
#     </2>; rel=next: /2
#     </2>; rel= next: /2
#     </2>; rel =next: error
#     </1>; rel=prev, </2>; rel =next: error
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/Cargo.toml" <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
nom-rfc8288 = "=0.4.0"

[workspace]
END
cat >"$folder/src/main.rs" <<'END'
use nom_rfc8288::complete::{link_lenient, link_strict};

fn main() {
    for header in ["</2>; rel=next", "</2>; rel= next", "</2>; rel =next", "</1>; rel=prev, </2>; rel =next"] {
        let last = |links: Vec<Option<nom_rfc8288::complete::LinkData<'_>>>| links.last().unwrap().as_ref().unwrap().url.to_owned();
        let [strict, lenient] =
            [link_strict(header).ok(), link_lenient(header).ok()].map(|links| links.map_or("error".to_owned(), last));
        assert_eq!(strict, lenient, "{header}");
        println!("{header}: {strict}");
    }
}
END
seen=$(cargo run --quiet --manifest-path "$folder/Cargo.toml" --target-dir "$folder/target")
echo "$seen"
expected='</2>; rel=next: /2
</2>; rel= next: /2
</2>; rel =next: error
</1>; rel=prev, </2>; rel =next: error'
if [ "$seen" != "$expected" ]; then
    echo "changed: a space is read otherwise"
    exit 1
fi
