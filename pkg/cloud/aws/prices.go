package aws

// g5Region is the region of the built-in prices. Elsewhere machines cost something else, and an
// unknown price is safer in a budget than a wrong one.
const g5Region = "us-east-1"

// g5Prices are US dollars per hour: Linux, on-demand, shared tenancy, us-east-1, from the public
// Amazon EC2 on-demand price list as of 2026-07-20.
var g5Prices = map[string]float64{
	"g5.xlarge":   1.006,
	"g5.2xlarge":  1.212,
	"g5.4xlarge":  1.624,
	"g5.8xlarge":  2.448,
	"g5.12xlarge": 5.672,
	"g5.16xlarge": 4.096,
	"g5.24xlarge": 8.144,
	"g5.48xlarge": 16.288,
}

// pricePerHour is the on-demand price, for spot machines too: their own price moves and never
// exceeds it unless a launch template bids more, so that a budget kept with it is kept.
func (p *Provider) pricePerHour(instanceType string) float64 {
	if price, ok := p.opts.Prices[instanceType]; ok {
		return price
	}
	if p.opts.Region != g5Region {
		return 0
	}
	return g5Prices[instanceType]
}
