'use strict';
'require baseclass';
'require uci';

/* What the program accepts in an option, said before it is saved.
 *
 * Each function takes a text and gives true or the sentence that says what would be right. They
 * follow the program's own reader (src/config); the tests hold the two against each other.
 */

const FLAGS = { on: '1', true: '1', yes: '1', enabled: '1', off: '0', false: '0', no: '0', disabled: '0' };

function isIPv4(text) {
	return /^(\d{1,3}\.){3}\d{1,3}$/.test(text)
		&& text.split('.').every(part => +part <= 255 && String(+part) === part);
}

function isIPv6(text) {
	/* The browser's own reader, which knows all the ways to write one; no zone, no brackets. */
	if (!/^[0-9a-fA-F:.]+$/.test(text) || !text.includes(':'))
		return false;

	try { return new URL('http://[%s]/'.format(text)).hostname.length > 2 }
	catch (e) { return false }
}

/* The address and the length behind it; without one, that of a single address. */
function split(text) {
	const [ address, length, rest ] = text.split('/');
	const width = isIPv4(address) ? 32 : isIPv6(address) ? 128 : -1;

	if (width < 0 || rest !== undefined || (length !== undefined && !/^\d{1,3}$/.test(length)))
		return null;

	const bits = length === undefined ? width : +length;

	return bits <= width ? { address: address, bits: bits } : null;
}

function isHostName(text) {
	const labels = text.replace(/\.$/, '').split('.');

	return text.length <= 253
		&& labels.every(label => /^[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?$/.test(label))
		&& !/^\d+$/.test(labels[labels.length - 1]);
}

function whole(text) {
	return /^\d+$/.test(text) && +text <= 0xffffffff ? +text : null;
}

return baseclass.extend({
	/* 32 bytes in base64: the last of 43 digits has two bits that are not used. */
	key(text) {
		return /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(text) || _('A key has 44 characters of base64.');
	},

	device(text) {
		return (/^[!-.0-9;-~]{1,15}$/.test(text) && text !== '.' && text !== '..')
			|| _('A device\'s name has 1 to 15 characters without “/”, “:” and spaces.');
	},

	interface(text) {
		return /^[A-Za-z0-9_.-]+$/.test(text) || _('An interface\'s name has letters, digits, “_”, “-” and “.” only.');
	},

	/* Of the tunnel's device: neither nothing nor everybody. */
	address(text) {
		const found = split(text);
		const fit = found && !/^(0\.0\.0\.0|2(2[4-9]|3\d)\..*|::|ff..:.*)$/i.test(found.address);

		return fit || _('An address with prefix length is expected, such as 10.99.0.2/24 or fd99::2/64.');
	},

	prefix(text) {
		return split(text) !== null || _('A network is expected, such as 192.168.1.0/24, 0.0.0.0/0 or ::/0.');
	},

	endpoint(text) {
		const found = /^(?:\[([^\]]*)\]|([^:[\]]+))(?::(\d+))?$/.exec(text);
		const host = found && (found[1] !== undefined ? isIPv6(found[1]) : isIPv4(found[2]) || isHostName(found[2]));
		const port = found && (found[3] === undefined || (+found[3] >= 1 && +found[3] <= 65535));

		return (host && port === true)
			|| _('Host and port are expected, such as vps.example.net:51830, 192.0.2.1:51830 or [2001:db8::1]:51830.');
	},

	/* A whole number from `least` to `most`. */
	range(least, most) {
		return text => {
			const value = whole(text);

			return (value !== null && value >= least && value <= most)
				|| _('A whole number from %d to %d is expected.').format(least, most);
		};
	},

	mtu(text) {
		const value = whole(text);

		return value === 0 || (value >= 1280 && value <= 1920) || _('0 is expected, which measures it, or 1280 to 1920.');
	},

	table(text) {
		const value = whole(text);

		return (value > 0 && (value < 253 || value > 255))
			|| _('A routing table\'s number from 1 on is expected, but not 253, 254 or 255.');
	},

	/* The number of a mark, in decimal or with 0x; null if it is none. */
	markValue(text) {
		if (/^0[xX][0-9a-fA-F]+$/.test(text))
			return parseInt(text, 16) <= 0xffffffff && parseInt(text, 16) > 0 ? parseInt(text, 16) : null;

		return whole(text) || null;
	},

	mark(text) {
		return this.markValue(text) !== null || _('A number from 1 to 0xffffffff is expected, decimal or with 0x.');
	},

	path(text) {
		return text.startsWith('/') || _('An absolute path is expected.');
	},

	socket(text) {
		return (text.startsWith('/') && new TextEncoder().encode(text).length <= 107)
			|| _('An absolute path of at most 107 bytes is expected.');
	},

	/* 0 or 1, of all the words that UCI has for them; others stay, for the program to complain. */
	flag(text) {
		return FLAGS[text] || text;
	},

	/* A name for a new section, made of what somebody called it. */
	sectionName(wish) {
		const base = wish.replace(/[^A-Za-z0-9_]/g, '_') || 'wan';
		let name = base;

		for (let n = 2; uci.get('onebox', name) != null; n++)
			name = '%s_%d'.format(base, n);

		return name;
	},

	/* The other section of this type that has the same value in one of these options. */
	twin(type, section, values) {
		return uci.sections('onebox', type).find(other => other['.name'] !== section
			&& Object.entries(values).some(([ option, value ]) => value && other[option] === value));
	}
});
