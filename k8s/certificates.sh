#!/bin/sh
# Makes an authority and certificates for k8s/etcd and k8s/gateway, valid for ten years,
# and prints them as Secrets. The authority's key is not kept. To replace the
# certificates, run it again and restart all pods.
#
#   k8s/certificates.sh | kubectl apply -f -
set -eu
umask 077
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

key ca.key
openssl req -x509 -new -key ca.key -sha256 -days 3650 -subj /CN=tokengate -out ca.crt

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
  tls.crt: $(base64 <tls.crt | tr -d '\n')
  tls.key: $(base64 <tls.key | tr -d '\n')
END
}

certificate tokengate-etcd "IP:127.0.0.1, DNS:localhost, DNS:tokengate-etcd-0.tokengate-etcd, DNS:tokengate-etcd-1.tokengate-etcd, DNS:tokengate-etcd-2.tokengate-etcd"
# Without a name: etcd would look it up and compare the client's address.
certificate tokengate-etcd-client ""
