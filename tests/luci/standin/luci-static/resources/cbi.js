'use strict';

/* Part of the stand-in for LuCI's runtime: what is global in LuCI. Written after LuCI's documented
 * interface, with as much of it as the pages use. */

/* The key of a text in a catalogue of translations; here the text itself. */
window.sfh = text => text;
window.TR = window.TR || {};
window._ = text => window.TR[window.sfh(text)] || text;

/* %s %d %f with a precision, %h for text in markup, %% */
String.prototype.format = function(...values) {
	let at = 0;

	return this.replace(/%(\.\d+)?([sdfh%])/g, (all, precision, kind) => {
		if (kind === '%')
			return '%';

		const value = values[at++];

		switch (kind) {
		case 'd':
			return String(Math.trunc(+value));
		case 'f':
			return precision ? (+value).toFixed(+precision.slice(1)) : String(+value);
		case 'h':
			return String(value).replace(/[<>&"']/g, c => '&#%s;'.format(c.charCodeAt(0)));
		default:
			return String(value);
		}
	});
};
