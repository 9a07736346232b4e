package pretrain

import (
	"github.com/deeplora/deeplora/data"
)

// segment is one input of the encoder: a text, or two joined.
type segment struct {
	a, b int // texts; b is -1 for a single one
}

// placed is a segment in a row.
type placed struct {
	segment
	row, start int // tokens before it in the row
	encoded    data.Encoded
}

// packer fills rows with segments.
type packer struct {
	special     data.Special
	ids         [][]int32
	maxLength   int // tokens of a segment
	rows        int
	length      int // tokens of a row
	perRow      int // segments a row holds
	batches     [][]placed
	open        []placed
	used, count []int // tokens and segments in each open row
}

// pack fills batches of rows with segments in their order: each goes into the first row with room, and where there
// is none the batch is full. Segments of a batch may stand in another order than they came in.
func (p *packer) pack(segments []segment) [][]placed {
	p.used, p.count = make([]int, p.rows), make([]int, p.rows)
	for _, s := range segments {
		var b []int32
		if s.b >= 0 {
			b = p.ids[s.b]
		}
		encoded, _ := p.special.Join(p.ids[s.a], b, s.b >= 0, p.maxLength)
		row := p.room(len(encoded.IDs))
		if row < 0 {
			p.flush()
			row = 0
		}
		p.open = append(p.open, placed{s, row, p.used[row], encoded})
		p.used[row] += len(encoded.IDs)
		p.count[row]++
	}
	p.flush()
	return p.batches
}

// room finds the first open row that holds that many more tokens, -1 for none.
func (p *packer) room(tokens int) int {
	for row, used := range p.used {
		if used+tokens <= p.length && p.count[row] < p.perRow {
			return row
		}
	}
	return -1
}

func (p *packer) flush() {
	if len(p.open) > 0 {
		p.batches, p.open = append(p.batches, p.open), nil
		clear(p.used)
		clear(p.count)
	}
}
