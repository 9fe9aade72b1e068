//! Networks of containers as packets see them, in a network namespace of the test's own, beside what others have there.

use tests::workdir::SECONDS;
use tests::{Output, Workdir};

/// What each script begins with: a host with one address, 10.99.0.1, a machine beside it at 10.99.0.2, and an image `bb` of busybox.
const HOST: &str = r#"
mkdir -p /run/bundle-tool /var/lib/cni
for folder in /run/bundle-tool /var/lib/cni; do
	mount -t tmpfs -o mode=700 test $folder
	mount --make-rshared $folder
done
ip link set lo up
unshare -n sleep 600 &
beside=$!
while [ "$(readlink /proc/$beside/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
ip link add out0 type veth peer name eth0 netns $beside
ip address add 10.99.0.1/24 dev out0
ip address add fd99::1/64 dev out0 nodad
ip link set out0 up
outside() { nsenter --net=/proc/$beside/ns/net "$@"; }
outside ip address add 10.99.0.2/24 dev eth0
outside ip address add fd99::2/64 dev eth0 nodad
outside ip link set eth0 up
mkdir -p tree/bin tree/etc tree/tmp
cp "$(command -v busybox)" tree/bin/busybox
for applet in sh nc ping ip cat ls sleep true grep; do ln -sf busybox tree/bin/$applet; done
tar -C tree -cf tree.tar .
image-tool import -e PATH=/bin --cmd '["sh"]' tree.tar :bb >/dev/null
serve='while :; do echo served | nc -l -p 80; done'
# ask ADDRESS PORT: what a server says; the second time it may not have begun to listen again.
ask() { sleep 0.2; busybox nc -w 2 "$1" "$2" </dev/null 2>/dev/null || echo nothing; }
reaches() { docker exec "$1" ping -c1 -W1 "$2" >/dev/null 2>&1 && echo yes || echo no; }
says() { printf '%s: %s\n' "$1" "$2"; }
set +e
"#;

/// Runs a script on such a host and returns what it printed.
fn on_a_host(work: &Workdir, script: &str) -> Output {
    on_a_host_within(SECONDS, work, script)
}

fn on_a_host_within(seconds: u64, work: &Workdir, script: &str) -> Output {
    work.write("script", &format!("set -eu\n{HOST}\n{script}\ntrue\n"));
    work.sh_within(seconds, "unshare -n -m -p -f --mount-proc --kill-child --propagation private sh script")
}

#[test]
fn published_ports_lead_to_containers_from_everywhere_and_nothing_else_does() {
    let work = Workdir::new();
    let script = r#"
docker run -d --name web -p 8000:80 -p 10.99.0.1:8001:80 bb sh -c "$serve" >/dev/null
docker run -d --name app -p 127.0.0.1:8002:80 bb sh -c "$serve" >/dev/null
says published "$(docker ps --filter publish=8000 --format '{{.Names}}') $(docker ps -q --filter publish=80 | wc -l)"
says exposed "$(docker ps -q --filter expose=80 | wc -l)"
says loopback "$(ask 127.0.0.1 8000)"
says loopback6 "$(ask ::1 8000)"
says address "$(ask 10.99.0.1 8000)"
says address6 "$(ask fd99::1 8000)"
says one "$(ask 10.99.0.1 8001)"
says one-elsewhere "$(ask 127.0.0.1 8001)"
says bound "$(ask 127.0.0.1 8002)"
says outside "$(sleep 0.2; outside busybox nc -w 2 10.99.0.1 8000 </dev/null)"
says outside6 "$(sleep 0.2; outside busybox nc -w 2 fd99::1 8000 </dev/null)"
says outside-bound "$(outside busybox nc -w 1 10.99.0.1 8002 </dev/null 2>/dev/null || echo nothing)"
says itself "$(sleep 0.2; docker exec web nc -w 2 10.99.0.1 8000 </dev/null)"
says sibling "$(sleep 0.2; docker exec app nc -w 2 10.99.0.1 8000 </dev/null)"
# A machine beside the host that knows the way reaches no port that is not published. It has no route for answers to others' addresses.
address=$(docker exec web ip address show eth0 | grep -o '10[.0-9]*' | head -1)
says masquerade "$(docker exec web ping -c1 -W1 10.99.0.2 >/dev/null && echo yes)"
outside ip route add 10.63.0.0/16 via 10.99.0.1
says unpublished "$(outside busybox nc -w 1 "$address" 80 </dev/null 2>/dev/null || echo nothing)"
docker rm -f web app >/dev/null
says after "$(ask 127.0.0.1 8000)"
nft list tables
ip -brief link show type bridge
ls /run/bundle-tool
"#;
    let expected = "published: web 0\nexposed: 2\nloopback: served\nloopback6: served\naddress: served\naddress6: served\none: served\none-elsewhere: nothing\n\
        bound: served\noutside: served\noutside6: served\noutside-bound: nothing\nitself: served\nsibling: served\n\
        masquerade: yes\nunpublished: nothing\nafter: nothing\nclaims\nlock\n";
    assert_eq!(on_a_host(&work, script).ok(), expected);
}

#[test]
fn datagrams_lead_to_the_container_that_has_the_port_now() {
    let work = Workdir::new();
    let script = r#"
serve() {
	docker run -d --name "$1" -p 5300:53/udp bb sleep 600 >/dev/null
	nsenter --net=/run/bundle-tool/networks/"$(bundle-tool find --id "$1")"/netns python3 -c 'import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 53))
while True: s.sendto(sys.argv[1].encode(), s.recvfrom(99)[1])' "$1" &
	server=$!
	sleep 0.5
}
client() {
	outside python3 -c 'import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 4000)); s.settimeout(0.5); s.connect(("10.99.0.1", 5300))
for _ in range(8):
    try:
        s.send(b"?"); print(s.recv(99).decode().strip()); break
    except OSError: pass
else: print("nothing")'
}
serve one; client; kill $server
docker rm -f one >/dev/null
serve two; client; kill $server
docker rm -f two >/dev/null
"#;
    let expected = "one\ntwo\n";
    assert_eq!(on_a_host(&work, script).ok(), expected);
}

#[test]
fn both_families_have_addresses_and_ports() {
    let work = Workdir::new();
    let script = r#"
bundle-tool network create --subnet fd77:7::/64 six >/dev/null
bundle-tool network create --ipv6 --subnet 10.90.2.0/24 --subnet fd90:2::/64 --aux-address fd90:2::2 both >/dev/null
docker run -d --name v6 --network six -p 8000:80 bb sh -c "$serve" >/dev/null
docker run -d --name dual --network both -p 8001:80 bb sh -c "$serve" >/dev/null
docker run -d --name peer --network both bb sleep 600 >/dev/null
says v6 "$(ask ::1 8000) $(ask fd99::1 8000) $(ask 127.0.0.1 8000) $(ask 10.99.0.1 8000)"
says dual "$(ask ::1 8001) $(ask fd99::1 8001) $(ask 127.0.0.1 8001) $(ask 10.99.0.1 8001)"
says outside "$(sleep 0.2; outside busybox nc -w 2 fd99::1 8001 </dev/null)"
says route "$(docker exec v6 ip -6 route | grep -o 'default via [^ ]*')"
says address "$(docker exec dual ip -6 address show eth0 | grep -o 'fd90[^ ]*')"
says between "$(docker exec peer ping -6 -c1 -W1 fd90:2::3 >/dev/null 2>&1 && echo yes)"
says masquerade "$(docker exec dual ping -6 -c1 -W1 fd99::2 >/dev/null 2>&1 && echo yes)"
docker rm -f v6 dual peer >/dev/null
bundle-tool network rm six both
nft list tables
"#;
    let expected = "v6: served served served served\ndual: served served served served\noutside: served\n\
        route: default via fd77:7::1\naddress: fd90:2::3/64\nbetween: yes\nmasquerade: yes\nsix\nboth\n";
    assert_eq!(on_a_host(&work, script).ok(), expected);
}

#[test]
fn a_container_has_several_networks_and_they_change_while_it_runs() {
    let work = Workdir::new();
    let script = r#"
bundle-tool network create --subnet 10.90.1.0/24 one >/dev/null
bundle-tool network create --subnet 10.90.2.0/24 two >/dev/null
bundle-tool network create -o com.docker.network.bridge.enable_icc=false apart >/dev/null
docker run -d --name aa --network name=one,alias=first --network name=two,alias=second,ip=10.90.2.50 -p 8000:80 bb sh -c "$serve" >/dev/null
docker run -d --name cc --network two bb sleep 600 >/dev/null
docker run -d --name dd --network one bb sleep 600 >/dev/null
says addresses "$(docker exec aa ip -4 address | grep -o '10[.0-9]*/24' | tr '\n' ' ')"
says aliases "$(reaches cc second) $(reaches dd first) $(reaches cc first)"
says apart "$(reaches dd cc) $(reaches dd 10.90.2.2)"
bundle-tool network connect --alias joined two dd
says connected "$(reaches dd cc) $(reaches cc joined)"
says twice "$(bundle-tool network connect two dd 2>&1)"
bundle-tool network disconnect one dd
says disconnected "$(reaches dd first) $(reaches dd cc) $(reaches aa dd)"
says "way out" "$(docker exec dd ip route | grep -o 'default via [^ ]*') $(reaches dd 10.99.0.1)"
says "not on it" "$(bundle-tool network disconnect one dd 2>&1)"
bundle-tool network disconnect two aa
says gone "$(reaches cc second) $(ask 127.0.0.1 8000)"
docker stop -t 0 dd >/dev/null; docker start dd >/dev/null
says again "$(docker exec dd ip -4 address | grep -o '10[.0-9]*/24') $(reaches cc joined)"
docker run -d --name i1 --network apart bb sleep 600 >/dev/null
docker run -d --name i2 --network apart bb sleep 600 >/dev/null
says icc "$(reaches i1 i2) $(reaches i1 10.99.0.1)"
docker rm -f aa cc dd i1 i2 >/dev/null
docker create --name idle --network one bb true >/dev/null
bundle-tool network prune; docker rm idle >/dev/null; bundle-tool network rm one
nft list tables
ls /run/bundle-tool
"#;
    let expected = "addresses: 10.90.1.2/24 10.90.2.50/24 \naliases: yes yes no\napart: no no\nconnected: yes yes\n\
        twice: bundle-tool: dd: is on network two already (bundle-tool network disconnect two dd)\n\
        disconnected: no yes yes\nway out: default via 10.90.2.1 yes\nnot on it: bundle-tool: dd: is not on network one\n\
        gone: no served\nagain: 10.90.2.4/24 yes\nicc: no yes\napart\ntwo\none\nclaims\nlock\n";
    assert_eq!(on_a_host(&work, script).ok(), expected);
}

#[test]
fn names_follow_a_rename_and_stay_in_their_home() {
    let work = Workdir::new();
    let script = r#"
docker network create shop >/dev/null
docker run -d --name old --network shop bb sleep 600 >/dev/null
docker run -d --name peer --network shop bb sleep 600 >/dev/null
docker rename old new
says renamed "$(reaches peer new) $(reaches peer old)"
docker restart -t 0 new >/dev/null
says restarted "$(reaches peer new) $(reaches peer old)"
other() { OCI_HOME=$PWD/other "$@"; }
other image-tool import -e PATH=/bin --cmd '["sh"]' tree.tar :bb >/dev/null
other docker network create shop >/dev/null
other docker run -d --name theirs --network shop bb sleep 600 >/dev/null
says elsewhere "$(docker exec peer grep -c theirs /etc/hosts) $(other docker exec theirs grep -c peer /etc/hosts)"
other docker rm -f theirs >/dev/null
docker rm -f new peer >/dev/null
ls /run/bundle-tool
"#;
    let expected = "renamed: yes no\nrestarted: yes no\nelsewhere: 0 0\nclaims\nlock\n";
    assert_eq!(on_a_host(&work, script).ok(), expected);
}

#[test]
fn a_link_of_the_default_network_leads_to_its_container_whatever_that_is_called() {
    let work = Workdir::new();
    let script = r#"
docker run -d --name db bb sleep 600 >/dev/null
docker run -d --name app --link db:store bb sleep 600 >/dev/null
docker network create shop >/dev/null
docker run -d --name far --network shop bb sleep 600 >/dev/null
docker run -d --name near --network shop --link far:store bb sleep 600 >/dev/null
look() { says "$1" "$(reaches app store) $(reaches app db) $(reaches app data) $(docker inspect -f '{{.HostConfig.Links}}' app)"; }
look first
docker rename db data
look renamed
docker run -d --name other bb sleep 600 >/dev/null
docker stop -t 0 data >/dev/null
says stopped "$(reaches app store)"
docker run -d --name db bb sleep 600 >/dev/null
says namesake "$(reaches app store)"
docker start data >/dev/null
look restarted
docker restart -t 0 app >/dev/null
look again
# On a network of its own a link is another name for a name, as in docker.
says own "$(reaches near store) $(docker inspect -f '{{.HostConfig.Links}} {{.NetworkSettings.Networks.shop.Links}}' near)"
docker rename far gone
says own "$(reaches near store)"
docker rm -f data app db other near gone >/dev/null
"#;
    let links = "[/data:/app/store]";
    let expected = format!(
        "first: yes yes no [/db:/app/store]\nrenamed: yes no yes {links}\nstopped: no\nnamesake: no\n\
         restarted: yes no yes {links}\nagain: yes no yes {links}\nown: yes [] [far:store]\nown: no\n"
    );
    assert_eq!(on_a_host(&work, script).ok(), expected);
}

#[test]
fn names_have_the_networks_own_behind_them_and_lead_to_oneself_too() {
    let work = Workdir::new();
    let script = r#"
docker network create shop >/dev/null
docker run -d --name a1 --network shop --network-alias store --link late:later bb sleep 600 >/dev/null
docker run -d --name b1 --network shop bb sleep 600 >/dev/null
says other "$(reaches b1 a1) $(reaches b1 a1.shop) $(reaches b1 store.shop) $(reaches a1 later)"
says own "$(reaches a1 a1) $(reaches a1 a1.shop) $(reaches a1 store)"
docker run -d --name late --network shop bb sleep 600 >/dev/null
says late "$(reaches a1 later)"
docker run -d --name d1 bb sleep 600 >/dev/null
says default "$(reaches d1 d1) $(docker run --link a1 bb true 2>&1 | grep -c 'does not belong to the default network')"
docker run -d --name h1 --network host bb sleep 600 >/dev/null
says host "$(docker run --link h1 bb true 2>&1 | grep -c "host type networking can't be used with links")"
docker network create --subnet 10.97.0.0/24 --gateway 10.97.0.1 -o com.docker.network.bridge.host_binding_ipv4=10.97.0.1 bound >/dev/null
docker run -d --name p1 --network bound -p 8000:80 bb sh -c "$serve" >/dev/null
says bound "$(ask 10.97.0.1 8000) $(ask 10.99.0.1 8000)"
docker rm -f a1 b1 late d1 h1 p1 >/dev/null
"#;
    let expected =
        "other: yes yes yes no\nown: yes yes yes\nlate: yes\ndefault: no 1\nhost: 1\nbound: served nothing\n";
    assert_eq!(on_a_host(&work, script).ok(), expected);
}

#[test]
fn a_network_is_known_by_the_id_that_docker_prints() {
    let work = Workdir::new();
    let script = r#"
id=$(docker network create --subnet 10.90.3.0/24 shop)
short=$(printf %.12s "$id")
says digits ${#id}
says same "$(docker network inspect --format '{{.Id}}' shop | grep -cx "$id") $(docker network ls -q --no-trunc | grep -cx "$id")"
docker network create shop 2>&1
docker network create --subnet 10.90.3.128/25 mart 2>&1
docker network create -o --icc=x bare >/dev/null
says options "$(docker network inspect -f '{{index .Options "--icc"}} {{index .Options "com.docker.network.driver.mtu"}}' bare bridge | tr '\n' ' ')"
docker network rm bare >/dev/null
docker run -d --name web --network "$short" --link-local-ip 169.254.8.9 bb sleep 600 >/dev/null
says addresses "$(docker exec web ip -4 address show eth0 | grep -o 'inet [^ ]*' | tr '\n' ' ')"
says inspected "$(docker inspect --format '{{json .NetworkSettings.Networks.shop.IPAMConfig.LinkLocalIPs}}' web)"
says listed "$(docker ps --filter "network=$short" --format '{{.Names}} {{.Networks}}')"
docker network rm "$short" 2>&1 | sed "s/$id/ID/"
docker run -d --name app bb sleep 600 >/dev/null
docker network connect --link-local-ip 169.254.8.10 "$id" app
says connected "$(docker exec web ping -c1 -W1 169.254.8.10 >/dev/null && echo yes) $(reaches app web)"
docker network disconnect "$short" app
says gone "$(reaches app web)"
docker rm -f app web >/dev/null
[ "$(docker network rm "$id" bridge nosuch 2>err)" = "$id" ] && echo removed
cat err
"#;
    let expected = "digits: 64\nsame: 1 1\nError response from daemon: network with name shop already exists\n\
        Error response from daemon: Pool overlaps with other one on this address space\noptions: x   1500 \naddresses: inet 10.90.3.2/24 inet 169.254.8.9/16 \ninspected: [\"169.254.8.9\"]\nlisted: web shop\n\
        Error response from daemon: error while removing network: network shop id ID has active endpoints\n\
        connected: yes yes\ngone: no\nremoved\n\
        Error response from daemon: bridge is a pre-defined network and cannot be removed\nError: No such network: nosuch\n";
    assert_eq!(on_a_host(&work, script).ok(), expected);
}

#[test]
fn what_others_have_in_the_firewall_stays_and_does_not_keep_containers_off() {
    let work = Workdir::new();
    // As docker sets it: a policy, a chain for the administrator, a rule of its own.
    let script = r#"
iptables -P FORWARD DROP; iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -i foreign0 -j ACCEPT
ip6tables -P FORWARD DROP
nft 'add table inet canary; add chain inet canary everything { type filter hook forward priority 0; }'
ip link add foreign0 type bridge
before=$(iptables-save | grep -v '^#'; nft list table inet canary; ip -brief link show foreign0)
docker run -d --name web -p 8000:80 bb sh -c "$serve" >/dev/null
says policy "$(iptables -S FORWARD | grep -c oci0)"
says outside "$(sleep 0.2; outside busybox nc -w 2 10.99.0.1 8000 </dev/null)"
says out "$(docker exec web ping -c1 -W1 10.99.0.2 >/dev/null && echo yes)"
# The administrator's rules decide before.
iptables -A DOCKER-USER -i oci0 -d 10.99.0.2 -j DROP
says forbidden "$(docker exec web ping -c1 -W1 10.99.0.2 >/dev/null || echo no)"
iptables -F DOCKER-USER
# Whoever flushes all rules takes the ports away until the next container comes.
nft flush table inet oci-tools.oci0; nft delete table inet oci-tools.oci0
docker run --rm bb true
says again "$(ask 127.0.0.1 8000)"
docker rm -f web >/dev/null
after=$(iptables-save | grep -v '^#'; nft list table inet canary; ip -brief link show foreign0)
[ "$before" = "$after" ] && echo the same || { echo "$before"; echo "$after"; }
nft list tables inet
"#;
    let expected = "policy: 2\noutside: served\nout: yes\nforbidden: no\nagain: served\nthe same\ntable inet canary\n";
    assert_eq!(on_a_host(&work, script).ok(), expected);
}

#[test]
fn plugins_bring_up_what_a_person_wrote_and_a_network_moves_between_them_and_the_kernels_interfaces() {
    let work = Workdir::new();
    let script = r#"
bundle-tool network create --subnet 10.90.1.0/24 shop >/dev/null
docker run -d --name first --network shop bb sleep 600 >/dev/null
# An option that only the plugin knows.
file=$OCI_HOME/networks/shop.conflist
cp $file plain; sed -i 's/"isGateway"/"forceAddress": false, "isGateway"/' $file
docker run -d --name second --network shop -p 8000:80 bb sh -c "$serve" >/dev/null
native() { grep -o '"native": [a-z]*' /run/bundle-tool/networks/"$(bundle-tool find --id "$1")"/state.json; }
says first "$(native first)"; says second "$(native second)"
says between "$(reaches first second) $(reaches second first)"
says port "$(ask 127.0.0.1 8000)"
cp plain $file
docker restart -t 0 second >/dev/null
says second "$(native second)"
says address "$(docker exec second ip -4 address | grep -o '10[.0-9]*/24')"
says port "$(ask 127.0.0.1 8000)"
docker rm -f first second >/dev/null
nft list tables inet
iptables-save | grep CNI
ip -brief link show type bridge
ls /run/bundle-tool
"#;
    let expected = "first: \"native\": true\nsecond: \"native\": false\nbetween: yes yes\nport: served\n\
        second: \"native\": true\naddress: 10.90.1.4/24\nport: served\nclaims\nlock\n";
    assert_eq!(on_a_host(&work, script).ok(), expected);
}

/// Containers of two homes on two networks each are started, restarted, stopped, killed and made anew with their volume, and so are the
/// tools killed while they do it. `BUSY_ROUNDS` says how often, if it is set.
#[test]
fn nothing_is_left_of_containers_that_come_and_go_whatever_is_killed() {
    let work = Workdir::new();
    let rounds = std::env::var("BUSY_ROUNDS").map_or(40, |text| text.parse::<u64>().unwrap());
    let script = format!("rounds={rounds}")
        + r#"
iptables -N canary; iptables -A FORWARD -i foreign0 -j canary
nft 'add table inet canary'
ip link add foreign0 type bridge
first=$OCI_HOME second=$OCI_HOME.two
# use 1|2: the home, whose containers end in its number, since a runtime names cgroups by containers.
use() {
	number=$1 web=web$1 app=app$1 job=job$1
	case $1 in 1) OCI_HOME=$first ;; 2) OCI_HOME=$second ;; esac
	export OCI_HOME RUN_TOOL_ROOT="$OCI_HOME.run" job
}
# The job made anew, and so the volume that is filled from the image.
ls tree/bin >tree/names
cat >again <<'AGAIN'
docker rm -f $job
docker volume rm -f bin
docker create --name $job --network one -v bin:/bin bb sleep 600
AGAIN
# filled: says so if that volume is neither empty nor full.
filled() {
	folder=$(docker volume inspect -f '{{.Mountpoint}}' bin 2>/dev/null) || return 0
	files=$(ls "$folder" | wc -l)
	[ $files = 0 ] || [ $files = $(ls tree/bin | wc -l) ] || says "half a volume" "$files"
}
cp -r "$first" "$second"
for home in 1 2; do
	use $home
	bundle-tool network create one >/dev/null; bundle-tool network create two >/dev/null
	docker create --name $web --network one --network two -p 800$number:80 -v shared:/shared bb sleep 600 >/dev/null
	docker create --name $app --network two -v shared:/shared bb sleep 600 >/dev/null
	sh again >/dev/null 2>&1
	docker run --rm -v shared:/shared bb sh -c "echo kept $number >/shared/file"
done
before=$(ip -brief link | cut -d' ' -f1 | sort; nft list tables; iptables-save | grep canary)
random() { od -An -N2 -tu2 /dev/urandom | tr -d ' '; }
pick() { shift $(($(random) % $#)); echo "$1"; }
round=0
while [ $round -lt $rounds ]; do
	round=$((round + 1))
	use "$(pick 1 2)"
	name=$(pick $web $web $app $job)
	word=$(pick start start 'restart -t 0' 'stop -t 0' kill again)
	[ "$word" = again ] && set -- sh again || set -- docker $word $name
	setsid "$@" >/dev/null 2>&1 &
	process=$!
	if [ "$(pick yes no no)" = yes ]; then
		sleep 0.$(printf %03d $(($(random) % 400)))
		kill -KILL -- -$process 2>/dev/null
	fi
	wait $process 2>/dev/null
	filled
done
for home in 1 2; do
	use $home
	docker inspect $job >/dev/null 2>&1 || sh again >/dev/null
	for name in $web $app $job; do
		docker start $name >/dev/null 2>&1 || { docker stop -t 0 $name; docker start $name; } >/dev/null 2>&1
	done
	# Each finds the other under its name of now.
	says "$(reaches $web $app) $(reaches $web $job)" "$(reaches $app $web) $(reaches $job $app)"
	says "$(docker exec $app cat /shared/file)" "$(docker exec $web cat /shared/file)"
	docker exec $job sh -c 'cd /bin; ls' | diff - tree/names
	docker rm -f $web $app $job >/dev/null 2>&1
done
for home in 1 2; do use $home; bundle-tool network prune; done
after=$(ip -brief link | cut -d' ' -f1 | sort; nft list tables; iptables-save | grep canary)
[ "$before" = "$after" ] && echo the same || { echo "$before"; echo; echo "$after"; }
find /run/bundle-tool -mindepth 1 | sort
grep -c bundle-tool/networks /proc/mounts
for home in 1 2; do use $home; (cd $OCI_HOME; find bundles volumes -mindepth 1 -maxdepth 1 | sort); done
ps ax | grep -c '[b]undle-tool proxy'
"#;
    let expected = "yes yes: yes no\nkept 1: kept 1\nyes yes: yes no\nkept 2: kept 2\none\ntwo\none\ntwo\nthe same\n/run/bundle-tool/claims\n\
        /run/bundle-tool/lock\n0\nvolumes/bin\nvolumes/shared\nvolumes/bin\nvolumes/shared\n0\n";
    assert_eq!(on_a_host_within(SECONDS + 3 * rounds, &work, &script).ok(), expected);
}
