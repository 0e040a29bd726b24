package wire

import "strconv"

// AppendField appends one field line.
func AppendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// AppendLength appends a Content-Length field.
func AppendLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}

// ChunkHead is the room that [PutChunkHead] needs before the data of a chunk.
const ChunkHead = 6

// PutChunkHead writes the first line of a chunk of n octets, below 65,536, into dst: always ChunkHead octets, so that data can be read behind it before
// its size is known.
func PutChunkHead(dst []byte, n int) {
	const hex = "0123456789abcdef"
	_ = dst[ChunkHead-1]
	dst[0], dst[1], dst[2], dst[3], dst[4], dst[5] = hex[n>>12&15], hex[n>>8&15], hex[n>>4&15], hex[n&15], '\r', '\n'
}
