# Runs the test $3 of the program $2 where the folder $1 has room for 8 MiB: on a file system of its own
# if the kernel lets us mount one, else under a limit on the size of files.
small='mount -t tmpfs -o size=8m none "$1"'
if unshare --user --map-root-user --mount sh -c "$small" sh "$1" 2>/dev/null; then
    exec unshare --user --map-root-user --mount \
        sh -c "$small"' && exec "$2" --exact "$3" --nocapture' sh "$1" "$2" "$3"
fi
trap "" XFSZ # else a file that grows too long ends the process
ulimit -f 16384 # of 512 bytes
exec "$2" --exact "$3" --nocapture
