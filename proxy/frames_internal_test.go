package proxy

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/net/http2"
)

func TestFramesAreFoundInWhateverPiecesTheyCome(t *testing.T) {
	var octets bytes.Buffer
	octets.WriteString(http2.ClientPreface)
	w := http2.NewFramer(&octets, nil)
	w.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 14})
	w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte("head"), EndHeaders: true})
	w.WriteData(1, false, make([]byte, 300))
	w.WriteData(1, true, nil)
	w.WriteRSTStream(1, http2.ErrCodeStreamClosed)
	w.WritePing(true, [8]byte{})
	w.WriteRawFrame(0xbe, 0, 7, []byte("what is it"))
	w.WriteGoAway(1, http2.ErrCodeEnhanceYourCalm, []byte("calm"))
	w.WriteWindowUpdate(0, 1)
	const want = "[SETTINGS 6 HEADERS 4 DATA 300 DATA 0 RST_STREAM 4 (00000005) PING 8 unknown 10 GOAWAY 12 (000000010000000b) WINDOW_UPDATE 4]"
	for piece := 1; piece <= octets.Len(); piece++ {
		s := frameScanner{left: prefaceOctets}
		var found []string
		for all := octets.Bytes(); len(all) > 0; {
			n := min(piece, len(all))
			for rest := all[:n]; len(rest) > 0; {
				var ok bool
				if rest, ok = s.next(rest); ok {
					found = append(found, fmt.Sprint(frameNames[s.kind()], " ", s.length()))
					if n := s.wanted(); n > 0 {
						found = append(found, fmt.Sprintf("(%x)", s.body[:n]))
					}
				}
			}
			all = all[n:]
		}
		if got := fmt.Sprint(found); got != want || s.left != 0 || s.have != 0 {
			t.Fatalf("in pieces of %d: got %s, want %s", piece, got, want)
		}
	}
}
