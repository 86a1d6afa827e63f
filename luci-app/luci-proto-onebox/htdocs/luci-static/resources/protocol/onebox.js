'use strict';
'require form';
'require network';
'require uci';

/* The protocol 'onebox' on LuCI's page of interfaces, as any other has its form there: with zone,
 * metric and table, which netifd and the firewall then know.
 *
 * How: the program serves one interface, which its own configuration names. The form writes that
 * name; addresses, peers and connections stay on the pages of onebox.
 */

const ERRORS = {
	NAME_UNRESOLVED: _('The server\'s name cannot be resolved'),
	NO_ANSWER: _('The server does not answer'),
	NOT_NAMED: _('The settings of onebox name another interface as the tunnel, or none'),
	NOT_RUNNING: _('onebox does not run'),
	SWITCHED_OFF: _('onebox is switched off')
};

for (const code in ERRORS)
	network.registerErrorCode(code, ERRORS[code]);

/* The section of the program's own options. */
function main() {
	const section = uci.sections('onebox', 'onebox')[0];

	return section ? section['.name'] : null;
}

return network.registerProtocol('onebox', {
	getI18n() {
		return _('Bonded tunnel (onebox)');
	},

	getIfname() {
		return this._ubus('l3_device') || 'onebox0';
	},

	getPackageName() {
		return 'onebox';
	},

	/* What older versions of LuCI call it. */
	getOpkgPackage() {
		return 'onebox';
	},

	isFloating() {
		return true;
	},

	isVirtual() {
		return true;
	},

	getDevices() {
		return null;
	},

	containsDevice(device) {
		return network.getIfnameOf(device) === this.getIfname();
	},

	renderFormOptions(section) {
		const named = section.taboption('general', form.ListValue, '_tunnel', _('Routes'),
			_('The program serves one interface. Server and connections are set up on its own pages, in VPN › Bonding.'));

		named.value('program', _('The program\'s: what belongs into the tunnel goes there while it works'));
		named.value('interface', _('This interface\'s, with its metric and table: WANs need larger metrics'));
		named.value('', _('None, this is not the tunnel'));
		named.load = id => L.resolveDefault(uci.load('onebox')).then(() => {
			const known = uci.get('onebox', main(), 'netifd');

			if (known && known !== id)
				return '';

			return known && uci.get('onebox', main(), 'netifd_routes') !== '0' ? 'interface' : 'program';
		});
		/* What is proposed is written even if it was not touched. */
		named.forcewrite = true;
		named.write = (id, value) => {
			const sid = main() || uci.add('onebox', 'onebox', 'main');

			uci.set('onebox', sid, 'netifd', id);
			uci.set('onebox', sid, 'netifd_routes', value === 'program' ? '0' : null);
		};
		named.remove = id => {
			if (uci.get('onebox', main(), 'netifd') === id) {
				uci.unset('onebox', main(), 'netifd');
				uci.unset('onebox', main(), 'netifd_routes');
			}
		};
	}
});
