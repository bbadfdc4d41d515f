# Says what a certificate is, a fact a line.
# sh look.sh SOURCE CERTIFICATE KEY DAYS [NAME...]; a certificate and a key that are no paths come by stdin.
source=$1 certificate=$2 key=$3 days=$4
shift 4
given=$(cat)
if ! command -v openssl >/dev/null; then
    echo no openssl
    exit
fi
text() {
    case $1 in
        /*) cat "$1" ;;
        *) printf '%s\n' "$given" ;;
    esac
}
shown=$(text "$certificate" 2>/dev/null | openssl x509 2>/dev/null)
x509() {
    printf '%s\n' "$shown" | openssl x509 -noout "$@"
}
case $source in
    files)
        if [ -z "$shown" ]; then
            echo no certificate
            exit
        fi
        public=$(text "$key" 2>/dev/null | openssl pkey -pubout -passin pass: 2>/dev/null)
        if [ -z "$public" ]; then
            echo no key
        elif [ "$public" != "$(x509 -pubkey)" ]; then
            echo not a pair
        fi
        x509 -checkend $((days * 86400)) >/dev/null || echo ends
        for name; do
            case $name in
                *[!0-9.]*) asked=-checkhost ;;
                *) asked=-checkip ;;
            esac
            # A wildcard's own name is none that a client asks for.
            case $(x509 $asked "$(printf %s "$name" | sed 's/^\*/any/')") in
                *NOT*) echo "not for $name" ;;
            esac
        done
        ;;
    self_signed)
        [ -z "$shown" ] || ! x509 -checkend $((days * 86400)) >/dev/null || echo there
        ;;
    acme)
        [ -z "$shown" ] && exit
        echo there
        x509 -checkend $((days * 86400)) >/dev/null || echo ends
        x509 -ext subjectAltName | tr , '\n' | sed -n 's/^ *DNS:/name /p'
        sed -n 's/^server = /from /p' "/etc/letsencrypt/renewal/$(basename "$(dirname "$certificate")").conf"
        ;;
esac
