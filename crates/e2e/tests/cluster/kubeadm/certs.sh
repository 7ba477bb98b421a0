# The phases `certs` and `kubeconfig` of kubeadm, with its names, RSA keys in PKCS#1 and all. Needs NODE, ADDRESS, ENDPOINT.
set -eu
pki=/etc/kubernetes/pki
mkdir -p $pki/etcd /etc/kubernetes/manifests

key() { openssl genrsa -traditional -out "$1.key" 2048 2>/dev/null; chmod 600 "$1.key"; }

authority() { # file, common name
  key "$pki/$1"
  openssl req -x509 -new -key "$pki/$1.key" -subj "/CN=$2" -days 3650 -out "$pki/$1.crt" \
    -addext "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign" -addext "subjectAltName=DNS:$2"
}

leaf() { # file, authority, subject, extended usage, names
  key "$1"
  printf 'keyUsage=critical,digitalSignature,keyEncipherment\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=%s\n' "$4" > /tmp/extensions
  if [ -n "$5" ]; then echo "subjectAltName=$5" >> /tmp/extensions; fi
  openssl req -new -key "$1.key" -subj "$3" |
    openssl x509 -req -CA "$pki/$2.crt" -CAkey "$pki/$2.key" -CAcreateserial -days 365 -extfile /tmp/extensions -out "$1.crt" 2>/dev/null
}

authority ca kubernetes
authority front-proxy-ca front-proxy-ca
authority etcd/ca etcd-ca
local=IP:127.0.0.1,IP:0:0:0:0:0:0:0:1
leaf $pki/apiserver ca /CN=kube-apiserver serverAuth \
  "DNS:$NODE,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:10.96.0.1,IP:$ADDRESS,IP:$ENDPOINT,IP:127.0.0.1"
leaf $pki/apiserver-kubelet-client ca /O=kubeadm:cluster-admins/CN=kube-apiserver-kubelet-client clientAuth ""
leaf $pki/front-proxy-client front-proxy-ca /CN=front-proxy-client clientAuth ""
leaf $pki/etcd/server etcd/ca "/CN=$NODE" serverAuth,clientAuth "DNS:$NODE,DNS:localhost,IP:$ADDRESS,$local"
leaf $pki/etcd/peer etcd/ca "/CN=$NODE" serverAuth,clientAuth "DNS:$NODE,DNS:localhost,IP:$ADDRESS,$local"
leaf $pki/etcd/healthcheck-client etcd/ca /CN=kube-etcd-healthcheck-client clientAuth ""
leaf $pki/apiserver-etcd-client etcd/ca /CN=kube-apiserver-etcd-client clientAuth ""
openssl genrsa -traditional -out $pki/sa.key 2048 2>/dev/null
openssl rsa -in $pki/sa.key -pubout -out $pki/sa.pub 2>/dev/null

kubeconfig() { # name, server, user, subject
  leaf "/tmp/$1" ca "$4" clientAuth ""
  cat > "/etc/kubernetes/$1.conf" <<END
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: $(base64 -w0 $pki/ca.crt)
    server: $2
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: $3
  name: $3@kubernetes
current-context: $3@kubernetes
kind: Config
users:
- name: $3
  user:
    client-certificate-data: $(base64 -w0 "/tmp/$1.crt")
    client-key-data: $(base64 -w0 "/tmp/$1.key")
END
  chmod 600 "/etc/kubernetes/$1.conf"
}

kubeconfig admin "https://$ENDPOINT:6443" kubernetes-admin /O=kubeadm:cluster-admins/CN=kubernetes-admin
kubeconfig super-admin "https://$ENDPOINT:6443" kubernetes-super-admin /O=system:masters/CN=kubernetes-super-admin
kubeconfig kubelet "https://$ADDRESS:6443" "system:node:$NODE" "/O=system:nodes/CN=system:node:$NODE"
kubeconfig controller-manager "https://$ADDRESS:6443" system:kube-controller-manager /CN=system:kube-controller-manager
kubeconfig scheduler "https://$ADDRESS:6443" system:kube-scheduler /CN=system:kube-scheduler
