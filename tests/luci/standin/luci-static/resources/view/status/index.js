'use strict';
'require view';
'require dom';

/* Part of the stand-in for LuCI's runtime: the start page with its boxes, here only ours. */

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	load() {
		return L.require('view.status.include.35_onebox');
	},

	render(box) {
		const container = E('div');
		const section = E('div', { 'class': 'cbi-section', 'style': 'display:none' }, [ E('h3', [ box.title ]), container ]);

		return box.load().then(seen => {
			const content = box.render(seen);

			if (content) {
				section.style.display = '';
				dom.content(container, content);
			}

			return section;
		});
	}
});
