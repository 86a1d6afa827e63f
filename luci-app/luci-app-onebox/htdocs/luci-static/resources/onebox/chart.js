'use strict';
'require baseclass';

/* Charts of the past, as SVG.
 *
 * How: a chart is made once and then given new series; only paths, numbers and the legend change.
 * The drawing is stretched to the width there is, so lines keep their width (non-scaling-stroke)
 * and all text is HTML beside it. Colours are classes of the style sheet, which knows the theme.
 * Under the pointer or the finger the legend shows the values of that moment.
 *
 * Limits: eight colours; a ninth connection begins anew with the first.
 */

const WIDTH = 300, HEIGHT = 100;
const NS = 'http://www.w3.org/2000/svg';

function svg(name, attributes) {
	const node = document.createElementNS(NS, name);

	for (const key in attributes)
		node.setAttribute(key, attributes[key]);

	return node;
}

/* The next round number. */
function nice(value) {
	const power = Math.pow(10, Math.floor(Math.log10(Math.max(value, 1e-3))));

	return power * [ 1, 1.5, 2, 3, 4, 5, 6, 8, 10 ].find(step => step * power >= value * 0.999);
}

/* A line through points; where `gaps` are wanted, values of 0 are unknown and leave one. */
function line(values, x, y, gaps) {
	const known = at => at >= 0 && !(gaps && values[at] === 0);

	return values.map((value, at) => known(at)
		? '%s%.1f,%.1f'.format(known(at - 1) ? 'L' : 'M', x(at), y(value)) : '').join('');
}

/* What is between two lines of the same length. */
function band(low, high, x, y) {
	const back = low.map((value, at) => 'L%.1f,%.1f'.format(x(at), y(value))).reverse();

	return high.length ? '%s%sZ'.format(line(high, x, y), back.join('')) : '';
}

const Chart = baseclass.extend({
	/* options: title, format (of a value), stacked, least (smallest top of the scale) */
	__init__(options) {
		this.options = options;
		this.series = [];
		this.points = 0;
		this.at = null;
		this.top = E('span', { class: 'ob-top' });
		this.legend = E('div', { class: 'ob-legend' });
		this.drawing = svg('svg', {
			viewBox: '0 0 %d %d'.format(WIDTH, HEIGHT), preserveAspectRatio: 'none', role: 'img'
		});
		this.node = E('div', { class: 'ob-chart' }, [
			E('div', { class: 'ob-chart-title' }, [ E('strong', options.title), this.top ]),
			E('div', { class: 'ob-plot' }, [ this.drawing ]),
			E('div', { class: 'ob-axis' }, [ this.since = E('span'), E('span', _('now')) ]),
			this.legend
		]);

		const point = ev => {
			const box = this.drawing.getBoundingClientRect();

			this.at = Math.round((ev.clientX - box.left) / box.width * (this.points - 1));
			this.explain();
		};

		this.drawing.addEventListener('pointermove', point);
		this.drawing.addEventListener('pointerdown', point);
		this.drawing.addEventListener('pointerleave', () => {
			this.at = null;
			this.explain();
		});
	},

	/* series: [{ name, colour, values }], all of the same length, newest value last; `total` is a
	 * line of its own. */
	draw(series, total) {
		const lines = this.options.stacked ? [] : series.map(one => one.values);
		const stack = [];

		this.series = series;
		this.total = total;
		this.points = Math.max(2, ...series.map(one => one.values.length));

		if (this.options.stacked) {
			let low = new Array(this.points).fill(0);

			for (const one of series) {
				const high = low.map((value, at) => value + one.values[at]);

				stack.push([ low, high ]);
				low = high;
			}

			lines.push(low);
		}

		if (total)
			lines.push(total);

		const most = Math.max(this.options.least, ...lines.map(values => Math.max(0, ...values)));
		const top = nice(most);
		const x = at => at / (this.points - 1) * WIDTH;
		const y = value => HEIGHT - value / top * (HEIGHT - 2) - 1;

		this.drawing.replaceChildren();

		for (const part of [ 0.25, 0.5, 0.75 ])
			this.drawing.appendChild(svg('line', {
				class: 'ob-grid', x1: 0, x2: WIDTH, y1: HEIGHT * part, y2: HEIGHT * part
			}));

		series.forEach((one, index) => this.drawing.appendChild(svg('path', {
			class: '%s ob-c%d'.format(this.options.stacked ? 'ob-area' : 'ob-line', one.colour),
			d: this.options.stacked ? band(stack[index][0], stack[index][1], x, y) : line(one.values, x, y, true)
		})));

		if (total)
			this.drawing.appendChild(svg('path', { class: 'ob-total', d: line(total, x, y) }));

		this.cursor = svg('line', { class: 'ob-cursor', y1: 0, y2: HEIGHT, visibility: 'hidden' });
		this.drawing.appendChild(this.cursor);
		this.top.textContent = this.options.format(top);
		this.explain();
	},

	/* The legend, with the values now or under the pointer. */
	explain() {
		const at = this.at == null || this.at < 0 || this.at >= this.points ? this.points - 1 : this.at;
		const value = values => !values[at] && !this.options.stacked ? '–' : this.options.format(values[at]);
		const entries = this.series.map(one => E('span', { class: 'ob-key' },
			[ E('i', { class: 'ob-c%d'.format(one.colour) }), one.name, ' ', E('b', value(one.values)) ]));

		if (this.total)
			entries.unshift(E('span', { class: 'ob-key' }, [ E('i', { class: 'ob-all' }), _('Bond'), ' ', E('b', value(this.total)) ]));

		this.legend.replaceChildren(...entries);
		this.drawing.setAttribute('aria-label', '%s: %s'.format(this.options.title,
			entries.map(entry => entry.textContent).join(', ')));

		if (this.cursor) {
			const x = at / (this.points - 1) * WIDTH;

			this.cursor.setAttribute('x1', x);
			this.cursor.setAttribute('x2', x);
			this.cursor.setAttribute('visibility', this.at == null ? 'hidden' : 'visible');
		}
	}
});

return baseclass.extend({
	/* Class, to be made with new. */
	Chart: Chart,
	/* How many there are. */
	COLOURS: 8
});
