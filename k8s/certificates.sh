#!/bin/sh
# Prints certificates for k8s/etcd and k8s/gateway, valid for ten years, as Secrets. Their
# authorities are in the Secrets tokengate-ca and tokengate-replicas-ca, which no pod
# mounts. To renew the certificates, run it again: it finds the authorities there with
# kubectl, and nothing has to be restarted.
#
#   k8s/certificates.sh | kubectl apply -f -
set -eu
umask 077
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
cd "$dir"

# secret NAME FILES prints a Secret of FILES.crt and FILES.key.
secret() {
	cat <<END
---
apiVersion: v1
kind: Secret
metadata:
  name: $1
  namespace: tokengate
type: kubernetes.io/tls
data:
  ca.crt: $(base64 <ca.crt | tr -d '\n')
  tls.crt: $(base64 <"$2.crt" | tr -d '\n')
  tls.key: $(base64 <"$2.key" | tr -d '\n')
END
}

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

# existing SECRET KEY prints a file of a Secret, or nothing.
existing() {
	value=$(kubectl get secret --namespace tokengate "$1" --ignore-not-found --output "jsonpath={.data.tls\\.$2}")
	printf %s "$value" | base64 -d
}

# authority SECRET finds or makes the authority of the next certificates.
authority() {
	existing "$1" key >ca.key
	if test -s ca.key; then
		existing "$1" crt >ca.crt
	else
		key ca.key
		openssl req -x509 -new -key ca.key -sha256 -days 3650 -subj "/CN=$1" -out ca.crt
		secret "$1" ca
	fi
}

# certificate NAME SUBJECT-ALTERNATIVE-NAMES
certificate() {
	key tls.key
	openssl req -new -key tls.key -subj "/CN=$1" -out tls.csr
	{
		echo 'extendedKeyUsage = serverAuth, clientAuth'
		test -z "$2" || echo "subjectAltName = $2"
	} >tls.ext
	openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -sha256 -days 3650 -extfile tls.ext -out tls.crt 2>openssl.log || {
		cat openssl.log >&2
		exit 1
	}
	secret "$1" tls
}

authority tokengate-ca
certificate tokengate-etcd "IP:127.0.0.1, DNS:localhost, DNS:tokengate-etcd-0.tokengate-etcd, DNS:tokengate-etcd-1.tokengate-etcd, DNS:tokengate-etcd-2.tokengate-etcd"
# Without a name: etcd would look it up and compare the client's address.
certificate tokengate-etcd-client ""

# Envoy has this one, too, and must not be believed by etcd.
authority tokengate-replicas-ca
certificate tokengate-replicas "DNS:tokengate-replicas"
